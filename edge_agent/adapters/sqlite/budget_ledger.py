"""Owns the durable ledger of the budget: buckets of calls, bytes and money as rows, debited before anything is spent.

What a bucket is and why it is never exceeded is `core/budget.py`. Time is measured within a boot only: a bucket gains
nothing while the device is off, and no step of the wall clock fills it.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.adapters.sqlite.age import Stamp
from edge_agent.adapters.sqlite.reading import Reader
from edge_agent.adapters.sqlite.transaction import Transaction
from edge_agent.adapters.sqlite.writer import Writer
from edge_agent.core.budget import Bucket, BudgetSettings, Granted, Pool, Resource, abandon, lease, refilled, settle

_COLUMNS = "level, leased, spent, wall_ns, monotonic_s, boot_id, synced"


@dataclass(frozen=True, slots=True)
class BucketUse:
    """One bucket as the status tells it; `spent` counts since the store was made, at the last debit."""

    resource: Resource
    pool: Pool
    level: float
    leased: float
    spent: float


class BudgetLedger:
    """The ledger on edge.db. Implements `Lender`.

    Args:
        writer: Commits debits.
        settings: The bounds.
    """

    def __init__(self, writer: Writer, settings: BudgetSettings) -> None:
        self._writer = writer
        self._settings = settings
        self._own: set[Pool] = set()  # pools whose leases are this process's

    @property
    def bounds_bytes(self) -> bool:
        """Whether bytes are bounded."""
        return (Resource.BYTES, Pool.MAIN) in self._settings.buckets

    def lease(self, pool: Pool, wanted: int, spent: int) -> Granted:
        """Debit calls and their money, durably, and note what was spent of earlier leases."""
        granted = self._writer.call(lambda tx: self._lease(tx, pool, wanted, spent))
        self._own.add(pool)
        return granted

    def take_bytes(self, pool: Pool, sizes: Sequence[int]) -> frozenset[int]:
        """Spend bytes, durably, before the items that they are for are sent.

        Args:
            pool: Whose.
            sizes: Bytes of the items, in the order in which they are wanted.

        Returns:
            Places of the items that are paid for; one that there are no bytes for keeps no smaller one from going.
        """
        key = (Resource.BYTES, pool)
        if key not in self._settings.buckets:
            return frozenset(range(len(sizes)))
        return self._writer.call(lambda tx: self._take_bytes(tx, key, sizes))

    def _lease(self, tx: Transaction, pool: Pool, wanted: int, spent: int) -> Granted:
        units = {Resource.CALLS: 1.0, Resource.MONEY: self._settings.cost_per_call}
        bounded = [one for one, unit in units.items() if unit > 0 and (one, pool) in self._settings.buckets]
        buckets = {one: settle(self._read(tx, (one, pool)), spent * units[one]) for one in bounded}
        granted = wanted
        short_of: Resource | None = None
        for one in bounded:
            calls = round(lease(buckets[one], granted * units[one], units[one])[1] / units[one])
            if calls < granted:
                granted, short_of = calls, one
        left = sys.maxsize
        for one in bounded:
            after, _ = lease(buckets[one], granted * units[one], units[one])
            left = min(left, int(after.level / units[one]))
            self._write(tx, (one, pool), after)
        return Granted(granted, short_of, left)

    def _take_bytes(self, tx: Transaction, key: tuple[Resource, Pool], sizes: Sequence[int]) -> frozenset[int]:
        bucket, paid = self._read(tx, key), set()
        for place, size in enumerate(sizes):
            if size <= bucket.level:
                bucket = settle(lease(bucket, size, 1.0)[0], size)
                paid.add(place)
        self._write(tx, key, bucket)
        return frozenset(paid)

    def _read(self, tx: Transaction, key: tuple[Resource, Pool]) -> Bucket:
        """The bucket now; a new one is full, and the leases of an earlier process are lost."""
        spec = self._settings.buckets[key]
        found = tx.connection.execute(
            f"SELECT {_COLUMNS} FROM budget WHERE resource = ? AND pool = ?",  # noqa: S608 - own text
            key,
        ).fetchone()
        if found is None:
            return Bucket(spec.capacity)
        level, leased, spent, *stamp = found
        passes = refilled if key[1] in self._own else abandon
        return passes(Bucket(level, leased, spent), spec, _within_boot_s(Stamp(*stamp), tx.now))

    def _write(self, tx: Transaction, key: tuple[Resource, Pool], bucket: Bucket) -> None:
        now = tx.now
        tx.connection.execute(
            "INSERT OR REPLACE INTO budget VALUES (?,?,?,?,?,?,?,?,?)",
            (
                *key, bucket.level, bucket.leased, bucket.spent,
                now.wall_ns, now.monotonic_s, now.boot_id, now.synced,
            ),
        )  # fmt: skip


def read_budget(reader: Reader) -> tuple[BucketUse, ...]:
    """Every bucket as it was at its last debit."""
    with reader.transaction() as read:
        found = read("SELECT resource, pool, level, leased, spent FROM budget ORDER BY resource, pool")
    return tuple(BucketUse(Resource(r), Pool(p), level, leased, spent) for r, p, level, leased, spent in found)


def _within_boot_s(since: Stamp, now: Stamp) -> float:
    return now.monotonic_s - since.monotonic_s if since.boot_id == now.boot_id else 0.0
