"""Owns how many requests come together, learnt from how many came: when they are there, nothing more is on its way.

Clients that wait for their answers send again when they have them, so what is answered together comes again together.
How many that are, no server is told: calls queue in sockets and in the transport. One client alone is never waited
with, since nothing ever came beside its request; where more came than were waited for, more are waited for next time.
"""

from typing import Final

PROBE_EVERY: Final = 16
"""Whole waves after which one more request is waited for, to see whether there are more clients now."""


class Wave:
    """Requests of one model that come together.

    Args:
        most: No more than this is waited for.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._whole = 0
        self._is_growing = True
        self.size = 1
        self.count = 0

    @property
    def is_whole(self) -> bool:
        """As many are there as came together last time."""
        return self.count >= self.size

    def come(self, *, is_beside_another: bool) -> None:
        """One more is there.

        Args:
            is_beside_another: Another request has not yet had its answer: there is more than one client.
        """
        self.count += 1
        if is_beside_another and self.size == 1:
            self.size = min(2, self._most)

    def end(self, *, is_late: bool) -> None:
        """Begin the next wave.

        Args:
            is_late: The wait was over before the wave was whole.
        """
        came, self.count = self.count, 0
        if is_late:
            self.size, self._whole, self._is_growing = max(1, came), 0, came <= 1
            return
        self._whole += 1
        if came > self.size:
            self.size = 2 * came if self._is_growing else came + 1
        elif self.size > 1 and (self._is_growing or self._whole % PROBE_EVERY == 0):
            self.size = 2 * self.size if self._is_growing else self.size + 1
        self.size = min(self.size, self._most)
