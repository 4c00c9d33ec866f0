"""Owns how many of a device's items are let in: as many as the waiting room has places for.

The bounds are `core.waiting_room`. What waits is counted in the database, seldom: what was let in since is added, what
was answered since is seen with the next count, which is made when there seems to be no place.
"""

from collections import Counter
from collections.abc import Callable

from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.waiting_room import WaitingRoom
from cloud_hub.ports import EscalationStore

RECOUNT_S = 1.0
"""How often the waiting are counted at most, while devices are turned away."""


class Admission:
    """Lets items in.

    Args:
        store: Where they wait.
        room: The bounds.
        monotonic_s: Monotonic clock.
    """

    def __init__(self, store: EscalationStore, room: WaitingRoom, monotonic_s: Callable[[], float]) -> None:
        self._store = store
        self._room = room
        self._monotonic_s = monotonic_s
        self._waiting: Counter[DeviceKey] = Counter()
        self._counted_at_s: float | None = None

    async def admit(self, device: DeviceKey, wanted: int) -> int:
        """Take places.

        Args:
            device: Whose items they are.
            wanted: How many.

        Returns:
            How many of them have a place.

        Raises:
            StorageError: The waiting could not be counted.
        """
        if self._places(device) < wanted and self._may_count():
            self._counted_at_s = self._monotonic_s()
            self._waiting = Counter(await self._store.waiting_by_device())
        granted = min(wanted, self._places(device))
        self._waiting[device] += granted
        return granted

    def _places(self, device: DeviceKey) -> int:
        if self._counted_at_s is None:
            return 0
        return self._room.places(self._waiting[device], self._waiting.total())

    def _may_count(self) -> bool:
        return self._counted_at_s is None or self._monotonic_s() - self._counted_at_s >= RECOUNT_S
