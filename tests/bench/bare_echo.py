"""Owns the baseline of the escalation's round trip: a gRPC stream that sends every message back, byte for byte.

Run as a program: `-m tests.bench.bare_echo PORT`. It is asyncio, as the hub is, and does nothing else.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Final

import grpc

METHOD: Final = "/bench.Echo/Echo"
_SERVICE, _NAME = METHOD[1:].split("/")


async def _echo(requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
    async for message in requests:
        yield message


async def _serve(port: int) -> None:
    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(_echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {_NAME: handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
