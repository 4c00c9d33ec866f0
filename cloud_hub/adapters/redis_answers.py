"""Owns answers that several hub processes share in Redis; the library is imported when it is connected.

What is kept, and when it is asked for, is `cloud_hub.serving.caching`. Keys are digests of content, so nothing there is
ever stale; how much is kept, and what leaves first, is Redis' own setting (`maxmemory`, `maxmemory-policy`).
"""

from typing import Any, Final

from cloud_hub.errors import OperatorError, StorageError

TIMEOUT_S: Final = 0.25
"""An answer that takes longer to look up is quicker made."""

KEPT_S: Final = 7 * 86_400
_PREFIX: Final = b"tandem:answer:"


class RedisAnswers:
    """Answers in Redis; fills `cloud_hub.serving.caching.RemoteAnswers`.

    Args:
        url: redis://HOST:PORT/DB, rediss://… or unix://….
        timeout_s: How long one look or one write may take.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._client: Any = None  # redis.asyncio.Redis; imported only where it is asked for

    def open(self) -> None:
        """Load the library; connections are made when they are needed.

        Raises:
            OperatorError: The library is not installed, or the URL is none.
        """
        try:
            from redis.asyncio import Redis  # noqa: PLC0415 - an extra: imported only where it is asked for
            from redis.asyncio.retry import Retry  # noqa: PLC0415 - as above
            from redis.backoff import NoBackoff  # noqa: PLC0415 - as above
        except ImportError as error:
            raise OperatorError(
                "serving.redis_url needs the package redis", "pip install 'tandem-edge[redis]'"
            ) from error
        try:
            self._client = Redis.from_url(
                self._url,
                socket_timeout=self._timeout_s,
                socket_connect_timeout=self._timeout_s,
                retry=Retry(NoBackoff(), 0),  # the request waits meanwhile, and a run is the better second try
            )
        except ValueError as error:
            raise OperatorError(f"serving.redis_url: {error}", "correct it in hub.toml") from error

    async def get(self, key: bytes) -> bytes | None:
        """Look one up."""
        found = await self._asked("get", _PREFIX + key)
        return found if isinstance(found, bytes) else None

    async def put(self, key: bytes, answer: bytes) -> None:
        """Keep one."""
        await self._asked("set", _PREFIX + key, answer, "EX", str(KEPT_S))

    async def close(self) -> None:
        """Disconnect; a second call does nothing."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _asked(self, *command: str | bytes) -> object:
        from redis.exceptions import RedisError  # noqa: PLC0415 - loaded by `open` already

        if self._client is None:
            raise StorageError("the answers in Redis are closed")
        try:
            return await self._client.execute_command(*command)
        except (RedisError, OSError, TimeoutError) as error:
            raise StorageError(f"Redis does not answer: {error}") from error
