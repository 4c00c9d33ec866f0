"""Owns how much may be on its way to the hub, by the hub's credit. Pure; the caller holds the lock."""

from edge_agent.ports import ItemKey
from protos.messages.escalation import Ack, Credit


class CreditWindow:
    """Items that were sent and not settled yet, against what the hub allows.

    Args:
        credit: What the hub gave with Welcome.
    """

    def __init__(self, credit: Credit) -> None:
        self._credit = credit
        self._bytes_by_item: dict[ItemKey, int] = {}
        self._bytes = 0

    @property
    def room(self) -> int:
        """How many more items may be sent."""
        return max(0, self._credit.items - len(self._bytes_by_item))

    @property
    def in_flight(self) -> frozenset[ItemKey]:
        """What was sent and not settled."""
        return frozenset(self._bytes_by_item)

    def grant(self, credit: Credit) -> None:
        """The hub changed its mind."""
        self._credit = credit

    def takes(self, size_bytes: int) -> bool:
        """Whether an item of this size may be sent now; one that is larger than the whole credit goes alone."""
        return self.room > 0 and (not self._bytes_by_item or self._bytes + size_bytes <= self._credit.bytes)

    def sent(self, key: ItemKey, size_bytes: int) -> None:
        """An item is on its way."""
        self._bytes_by_item[key] = size_bytes
        self._bytes += size_bytes

    def settle(self, key: ItemKey) -> None:
        """The hub has accepted or refused it."""
        self._bytes -= self._bytes_by_item.pop(key, 0)

    def settle_acked(self, ack: Ack) -> None:
        """The hub has these ranges."""
        for item_class, seq in list(self._bytes_by_item):
            if item_class is ack.item_class and any(first <= seq <= last for first, last in ack.ranges):
                self.settle((item_class, seq))
