"""Owns the budget's arithmetic: token buckets that are debited in leases, and which questions they are spent on.

A bucket fills up at its rate, up to its capacity. Who spends takes a *lease* first: tokens leave the bucket, durably,
before the first of them is spent. What a crash leaves unspent of a lease is lost, never spent twice. While a lease is
out its tokens count against the capacity, so in any time whatever, `spent <= capacity + rate * time`, whoever leases,
spends, crashes or sets clocks in whichever order.

Pure: where buckets are kept is `adapters/sqlite/budget_ledger.py`, and the spending is `inference/rationing.py`; for
which gains calls are kept while they are short is `worth.py`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

_ROUNDING = 1e-9


class Resource(StrEnum):
    """What can run out."""

    CALLS = "calls"
    BYTES = "bytes"
    MONEY = "money"


class Pool(StrEnum):
    """Whom a part of a resource is for: no pool ever takes from another."""

    MAIN = "main"
    AUDIT = "audit"
    UNSCORABLE = "unscorable"


@dataclass(frozen=True, slots=True)
class BucketSpec:
    """A bucket's bounds.

    Attributes:
        capacity: Most tokens that it holds, those out on lease included.
        per_s: Tokens a second that it gains.
    """

    capacity: float
    per_s: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket at one moment.

    Attributes:
        level: Tokens that can be leased.
        leased: Tokens out on lease and not known to be spent.
        spent: Tokens known to be spent, ever.
    """

    level: float
    leased: float = 0.0
    spent: float = 0.0


@dataclass(frozen=True, slots=True)
class BudgetSettings:
    """The bounds of the whole device.

    Attributes:
        buckets: By resource and pool; a resource without buckets is not bounded.
        cost_per_call: Money of one call.
    """

    buckets: Mapping[tuple[Resource, Pool], BucketSpec] = field(default_factory=dict)
    cost_per_call: float = 0.0

    @property
    def horizon_s(self) -> float:
        """How far ahead calls are kept for larger gains: a quarter of the time in which the smallest bucket fills.

        Where more is wanted than comes in, a bucket settles at what comes in that time: so it neither runs over nor
        stands empty. Infinite where calls are not bounded.
        """
        bounding = [
            spec for (one, pool), spec in self.buckets.items() if pool is Pool.MAIN and one is not Resource.BYTES
        ]
        return min((spec.capacity / spec.per_s / 4 for spec in bounding), default=math.inf)


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease of calls.

    Attributes:
        calls: That may be made.
        short_of: What keeps it from being as large as it was wanted; None: nothing.
        left: Calls that another lease could grant.
    """

    calls: int
    short_of: Resource | None
    left: int = 0


def refilled(bucket: Bucket, spec: BucketSpec, elapsed_s: float) -> Bucket:
    """Let time pass.

    Args:
        bucket: As it was.
        spec: Its bounds, which may have become smaller since.
        elapsed_s: Time that has surely passed; what is negative or unknown is none.

    Returns:
        The bucket now.
    """
    room = max(0.0, spec.capacity - bucket.leased)
    return replace(bucket, level=min(room, bucket.level + spec.per_s * max(0.0, elapsed_s)))


def lease(bucket: Bucket, wanted: float, unit: float) -> tuple[Bucket, float]:
    """Take tokens out, to be spent later.

    Args:
        bucket: As it is.
        wanted: Tokens; fewer are granted where the bucket has fewer.
        unit: What is spent at once: only whole multiples are granted.

    Returns:
        The bucket after it, and the tokens granted.
    """
    granted = int(min(wanted, bucket.level) / unit + _ROUNDING) * unit
    return replace(bucket, level=max(0.0, bucket.level - granted), leased=bucket.leased + granted), granted


def settle(bucket: Bucket, spent: float) -> Bucket:
    """Note that leased tokens were spent; those of a lease that a crash has ended count, too, and free no room."""
    return replace(bucket, leased=max(0.0, bucket.leased - spent), spent=bucket.spent + spent)


def abandon(bucket: Bucket, spec: BucketSpec, elapsed_s: float) -> Bucket:
    """Forget the leases of a process that ended: what it had not spent is lost.

    Time passes first, under these leases: it may have spent them up to its end, so they left no room until then.

    Args:
        bucket: As the process left it.
        spec: Its bounds.
        elapsed_s: Time that has surely passed since; what is negative or unknown is none.

    Returns:
        The bucket now.
    """
    return replace(refilled(bucket, spec, elapsed_s), leased=0.0)


def choose(gains: Sequence[float], affordable: int) -> frozenset[int]:
    """Spend on the largest expected gains first.

    Args:
        gains: Expected gain by question: how probable it is that the hub's answer is better, 0..1.
        affordable: How many questions can be asked.

    Returns:
        Places of the questions to ask; of equal gains the earlier ones.
    """
    order = sorted(range(len(gains)), key=lambda place: (-gains[place], place))
    return frozenset(order[: max(0, affordable)])
