"""Owns clocks for tests: the machine's own, as the agent's `Clock` port wants them."""

import time


class SystemClock:
    """The machine's clocks."""

    def wall_ns(self) -> int:
        """Unix epoch."""
        return time.time_ns()

    def monotonic_s(self) -> float:
        """Since some moment in the past."""
        return time.monotonic()

    def boot_id(self) -> str:
        """Always the same boot."""
        return "this-boot"

    def is_synced(self) -> bool:
        """Taken for granted."""
        return True
