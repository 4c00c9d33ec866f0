"""Owns who may use how much of the outbox, and what gives way when it is full.

Every class of items has a share of the bytes. Space that others leave free may be borrowed; a class that stays within
its share gets borrowed space back. A class that blocks never borrows: nothing of it is ever taken back. By the same
shares classes take turns when they are sent. Rows and bytes are the store's; the plan is made here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from protos.messages.escalation import ItemClass


class OnFull(StrEnum):
    """What a class does when it has no space."""

    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of an outbox.

    Attributes:
        max_bytes: Of all classes together; a hard bound.
        shares: Fraction of `max_bytes` by class; together at most 1.
        on_full: Policy by class, for the same classes.
    """

    max_bytes: int
    shares: Mapping[ItemClass, float]
    on_full: Mapping[ItemClass, OnFull]

    def share_bytes(self, item_class: ItemClass) -> int:
        """Bytes that a class may always use."""
        return int(self.max_bytes * self.shares[item_class])


@dataclass(frozen=True, slots=True)
class Insert:
    """There is space."""


@dataclass(frozen=True, slots=True)
class Evict:
    """Drop rows of these classes until so many bytes are free of each, then insert.

    Those of a class whose policy is `drop_newest` go from the newest on, all others from the oldest.

    Attributes:
        bytes_by_class: At least so many bytes.
    """

    bytes_by_class: Mapping[ItemClass, int]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Do not insert; count the new item as evicted for this reason.

    Attributes:
        reason: `drop_newest`, or `too_large`: it exceeds the share of its class.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Do not insert yet: something of the class has to be delivered first."""


Plan = Insert | Evict | Refuse | Wait

TOO_LARGE = "too_large"
_LEAST_WEIGHT = 0.01


def shortage_bytes(usage: Mapping[ItemClass, int], limits: Limits, size_bytes: int, item_class: ItemClass) -> int:
    """How much has to go for a new item; 0 or less when there is space."""
    shortage = sum(usage.values()) + size_bytes - limits.max_bytes
    if limits.on_full[item_class] is OnFull.BLOCK:
        return max(shortage, usage.get(item_class, 0) + size_bytes - limits.share_bytes(item_class))
    return shortage


def plan_insert(usage: Mapping[ItemClass, int], limits: Limits, item_class: ItemClass, size_bytes: int) -> Plan:
    """Decide what one new item needs.

    Args:
        usage: Bytes in use by class; an absent class uses none.
        limits: The bounds; they have a share for every class in use and for the new item.
        item_class: Of the new item.
        size_bytes: Of the new item.

    Returns:
        What to do; after it, the bytes in use are at most `max_bytes`.
    """
    share = limits.share_bytes(item_class)
    if size_bytes > share:
        return Refuse(TOO_LARGE)
    shortage = shortage_bytes(usage, limits, size_bytes, item_class)
    if shortage <= 0:
        return Insert()
    own = usage.get(item_class, 0)
    if own + size_bytes <= share:
        return Evict(_reclaim(usage, limits, item_class, shortage))
    if limits.on_full[item_class] is OnFull.BLOCK:
        return Wait()
    if limits.on_full[item_class] is OnFull.DROP_NEWEST:
        return Refuse(OnFull.DROP_NEWEST.value)
    # Its own oldest rows first; what they do not give, others have borrowed.
    from_own = min(own, shortage)
    borrowed = _reclaim(usage, limits, item_class, shortage - from_own)
    return Evict({item_class: from_own, **borrowed})


def is_roomy(usage: Mapping[ItemClass, int], limits: Limits, sizes: Sequence[tuple[ItemClass, int]]) -> bool:
    """Whether the plan of each of several new items is `Insert`, whatever their order.

    Args:
        usage: As for `plan_insert`.
        limits: As for `plan_insert`.
        sizes: Class and bytes of each.
    """
    own: dict[ItemClass, int] = {}
    for item_class, size_bytes in sizes:
        if size_bytes > limits.share_bytes(item_class):
            return False
        own[item_class] = own.get(item_class, 0) + size_bytes
    if sum(usage.values()) + sum(own.values()) > limits.max_bytes:
        return False
    return all(shortage_bytes(usage, limits, size_bytes, one) <= 0 for one, size_bytes in own.items())


def _reclaim(
    usage: Mapping[ItemClass, int], limits: Limits, item_class: ItemClass, shortage: int
) -> dict[ItemClass, int]:
    """Take space back from the other classes that use more than their share, the largest excess first."""
    excess = {other: used - limits.share_bytes(other) for other, used in usage.items() if other is not item_class}
    taken: dict[ItemClass, int] = {}
    for other, over in sorted(excess.items(), key=lambda pair: -pair[1]):
        part = min(over, shortage)
        if part > 0:
            taken[other] = part
            shortage -= part
    return taken


class Turns:
    """Whose turn it is to be sent: self-clocked fair queueing (Golestani, INFOCOM 1994) over the classes, by share.

    While several classes wait, each sends bytes in proportion to its share; a class that was idle gains nothing by it.

    Args:
        limits: For the shares; one below a hundredth counts as that.
    """

    def __init__(self, limits: Limits) -> None:
        self._weights = {one: max(share, _LEAST_WEIGHT) for one, share in limits.shares.items()}
        self._now = 0.0
        self._served: dict[ItemClass, float] = {}
        self._starts: dict[ItemClass, float] = {}

    def order(self, waiting: Mapping[ItemClass, Sequence[int]], limit: int) -> list[ItemClass]:
        """Say from which class each of the next items is taken.

        Args:
            waiting: Sizes in bytes of what waits, by class, in the order of sending.
            limit: Items to choose.

        Returns:
            At most `limit` classes; as often as a class is named, so many of its first items are taken.
        """
        left = {one: iter(sizes) for one, sizes in waiting.items() if one in self._weights}
        heads = {one: size for one, sizes in left.items() if (size := next(sizes, None)) is not None}
        self._starts = {one: self._starts.get(one, max(self._now, self._served.get(one, 0.0))) for one in heads}
        chosen: list[ItemClass] = []
        while heads and len(chosen) < limit:
            tags = {one: self._starts[one] + size / self._weights[one] for one, size in heads.items()}
            turn = min(tags, key=lambda one: (tags[one], one))
            chosen.append(turn)
            self._now = self._served[turn] = self._starts[turn] = tags[turn]
            following = next(left[turn], None)
            if following is None:
                del heads[turn], self._starts[turn]
            else:
                heads[turn] = following
        return chosen
