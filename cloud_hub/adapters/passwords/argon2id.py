"""Owns hashing passwords: argon2id (RFC 9106) in a thread, few at once, so that guessing costs the guesser most."""

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

TIME_COST = 3
MEMORY_KIB = 64 * 1024
LANES = 4
"""RFC 9106, section 4, second recommended option: 64 MiB, 3 passes, 4 lanes."""

MAX_AT_ONCE = 2
"""Each hash takes `MEMORY_KIB`: whoever sends many log-ins must not take the hub's memory."""

_NOBODYS_PASSWORD = "nobody"  # noqa: S105 - what a log-in without a person is compared with; opens nothing


class Argon2Hasher:
    """Hashes and compares passwords.

    Args:
        time_cost: Passes over the memory.
        memory_kib: Memory of one hash.
        lanes: Threads of one hash.
    """

    def __init__(self, time_cost: int = TIME_COST, memory_kib: int = MEMORY_KIB, lanes: int = LANES) -> None:
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=lanes)
        self._free = asyncio.Semaphore(MAX_AT_ONCE)
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """Hash a new password.

        Args:
            password: Any text.

        Returns:
            The hash in PHC form, with its salt and its costs.
        """
        async with self._free:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Compare a password with a stored hash; for nobody it takes as long, so that names cannot be tried out.

        Args:
            stored: From `hash`; None when nobody has the name.
            password: What was given.

        Returns:
            Whether it is the password; never for nobody.
        """
        async with self._free:
            return await asyncio.to_thread(self._is_right, stored, password)

    def _is_right(self, stored: str | None, password: str) -> bool:
        try:
            is_right = self._hasher.verify(stored or self._nobodys_hash(), password)
        except (VerificationError, InvalidHashError):
            return False
        return is_right and stored is not None

    def _nobodys_hash(self) -> str:
        if self._nobodys is None:
            self._nobodys = self._hasher.hash(_NOBODYS_PASSWORD)
        return self._nobodys
