"""Owns the machine's clocks: wall time, time since boot, which boot it is, whether wall time is synchronised."""

import ctypes
import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIMEX_BYTES = 512  # struct timex is 208 bytes on 64-bit Linux; the kernel writes no more than its own size
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_ASKED_EVERY_S = 1.0


class SystemClock:
    """The real clock. Implements `Clock`."""

    def __init__(self) -> None:
        self._boot_id = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._synced = (float("-inf"), False)  # when the kernel was asked, and what it said

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch, UTC."""
        return time.time_ns()

    def monotonic_s(self) -> float:
        """Seconds since boot, sleep included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def boot_id(self) -> str:
        """The kernel's id of this boot."""
        return self._boot_id

    def is_synced(self) -> bool:
        """Whether the kernel holds the wall clock for synchronised (adjtimex(2), read only), as of a second ago.

        Every message asks, and a call into the kernel's library gives the interpreter away.
        """
        now_s = self.monotonic_s()
        asked_s, is_synced = self._synced
        if now_s - asked_s >= _ASKED_EVERY_S:
            state: int = self._libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
            is_synced = 0 <= state < _TIME_ERROR
            self._synced = (now_s, is_synced)
        return is_synced
