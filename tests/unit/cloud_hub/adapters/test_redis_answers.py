"""Answers in Redis are kept and found; a Redis that is away or refuses is a failed storage, and nothing else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from cloud_hub.adapters.redis_answers import RedisAnswers
from cloud_hub.errors import OperatorError, StorageError
from tests.simulators.loops import in_loop


class TinyRedis:
    """Speaks as much of RESP2 as is asked here: GET, SET; an error for the rest (https://redis.io/docs/reference/protocol-spec)."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.commands: list[bytes] = []
        self.refuses = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until it ends."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                parts = [await self._bulk(reader) for _ in range(int((await reader.readuntil(b"\r\n"))[1:]))]
                writer.write(self._answer(parts))
                await writer.drain()
        writer.close()

    async def _bulk(self, reader: asyncio.StreamReader) -> bytes:
        size = int((await reader.readuntil(b"\r\n"))[1:])
        return (await reader.readexactly(size + 2))[:-2]

    def _answer(self, parts: list[bytes]) -> bytes:
        name = parts[0].upper()
        self.commands.append(name)
        if self.refuses:
            return b"-OOM command not allowed\r\n"
        if name == b"SET":
            self.kept[parts[1]] = parts[2]
            return b"+OK\r\n"
        if name == b"GET":
            found = self.kept.get(parts[1])
            return b"$-1\r\n" if found is None else b"$%d\r\n%s\r\n" % (len(found), found)
        return b"-ERR unknown command\r\n"


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[tuple[TinyRedis, RedisAnswers]]:
    """A Redis and answers in it."""
    redis = TinyRedis()
    server = await asyncio.start_server(redis.serve, "127.0.0.1", 0)
    answers = RedisAnswers(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0?protocol=2", timeout_s=30.0)
    answers.open()
    try:
        yield redis, answers
    finally:
        await answers.close()
        await answers.close()
        server.close()
        await server.wait_closed()


@in_loop
async def test_what_is_kept_is_found() -> None:
    """Byte for byte, under a name of ours; what was never kept is nothing."""
    async with connected() as (redis, answers):
        assert await answers.get(b"key") is None
        await answers.put(b"key", b"\x00\r\n answer")
        assert await answers.get(b"key") == b"\x00\r\n answer"
        assert list(redis.kept) == [b"tandem:answer:key"]


@in_loop
async def test_a_redis_that_refuses_is_a_failed_storage() -> None:
    """Whatever its reason; the next command is asked all the same."""
    async with connected() as (redis, answers):
        redis.refuses = True
        with pytest.raises(StorageError, match="Redis does not answer"):
            await answers.put(b"key", b"answer")
        redis.refuses = False
        assert await answers.get(b"key") is None


@in_loop
async def test_a_redis_that_is_away_is_a_failed_storage() -> None:
    """Nobody listens there; closed answers say so, too."""
    answers = RedisAnswers("redis://127.0.0.1:1/0")
    answers.open()
    with pytest.raises(StorageError, match="Redis does not answer"):
        await answers.get(b"key")
    await answers.close()
    with pytest.raises(StorageError, match="closed"):
        await answers.get(b"key")


def test_a_url_that_is_none_is_told_at_the_start() -> None:
    """The operator mends it in hub.toml."""
    with pytest.raises(OperatorError, match="redis_url"):
        RedisAnswers("http://127.0.0.1").open()
