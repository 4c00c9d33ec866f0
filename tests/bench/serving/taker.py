"""Owns the least that a server on gRPC can do: it takes a request off the core and gives a prepared answer.

Run as a program: `-m tests.bench.serving.taker PORT WAIT_S`; it answers each inference after so many seconds, and reads
nothing of it. What it leaves of the cores is what the load and the taking of requests leave for a model.
"""

import asyncio
import sys
from functools import partial
from typing import Final

from protos.link.core_server import CoreCall, CoreServer, Unary
from protos.link.tls import MAX_MESSAGE_BYTES
from protos.oip.methods import MODEL_INFER
from tests.simulators.network import LOOPBACK

REPLY: Final = bytes(4096)
_OPTIONS: Final = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]


async def _serve(port: int, wait_s: float) -> None:
    async def take(_data: bytes, _call: CoreCall) -> bytes:
        await asyncio.sleep(wait_s)
        return REPLY

    server = CoreServer({MODEL_INFER.path: Unary(lambda data, call: partial(take, data, call))}, _OPTIONS, "taker")
    server.bind(f"{LOOPBACK}:{port}")
    server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
