"""The budget on disk: debited before it is spent, never exceeded over crashes, and never filled by a clock."""

import sys
from pathlib import Path

import pytest

from edge_agent.adapters.sqlite.paid_book import PaidBook
from edge_agent.adapters.sqlite.store import StoreSettings
from edge_agent.core.budget import BucketSpec, BudgetSettings, Granted, Pool, Resource
from edge_agent.core.decision import Shortage
from edge_agent.inference.rationing import LEASE_CALLS, Ration
from edge_agent.ports import Unit
from protos.codec.escalation import escalation_to_bytes
from protos.messages.escalation import ItemClass
from tests.unit.edge_agent.adapters.sqlite.builders import (
    Opened,
    TestClock,
    audited,
    decided,
    escalation,
    limits,
    open_store,
)

CALLS = {(Resource.CALLS, Pool.MAIN): BucketSpec(10.0, 0.5)}
ITEM_BYTES = len(escalation_to_bytes(escalation("p1")))


def opened(folder: Path, budget: BudgetSettings, clock: TestClock | None = None) -> Opened:
    """A store with a budget."""
    settings = StoreSettings(limits(), escalation_max_age_s=3600.0, dead_letter_max_bytes=1 << 18, budget=budget)
    return open_store(folder, clock, settings)


def left(store: Opened, resource: Resource = Resource.CALLS, pool: Pool = Pool.MAIN) -> tuple[float, float, float]:
    """(level, leased, spent) of a bucket."""
    (found,) = [one for one in store.store.budget_use() if (one.resource, one.pool) == (resource, pool)]
    return found.level, found.leased, found.spent


def test_a_lease_is_debited_and_its_spending_noted(tmp_path: Path) -> None:
    """What is out on lease leaves no room for new tokens."""
    store = opened(tmp_path, BudgetSettings(CALLS))
    assert store.store.budget.lease(Pool.MAIN, 8, 0) == Granted(8, None, 2)
    assert left(store) == (2.0, 8.0, 0.0)
    store.clock.pass_s(100.0)
    # Three were spent, perhaps only just now: the time before they were makes up for nothing.
    assert store.store.budget.lease(Pool.MAIN, 32, 3) == Granted(2, Resource.CALLS)
    assert left(store) == (0.0, 7.0, 3.0)
    store.store.close()


def test_what_a_crash_leaves_of_a_lease_is_lost(tmp_path: Path) -> None:
    """The next process begins with what is left in the bucket, and time fills it as always."""
    store = opened(tmp_path, BudgetSettings(CALLS))
    store.store.budget.lease(Pool.MAIN, 8, 0)
    store.store.close()
    again = opened(tmp_path, BudgetSettings(CALLS), store.clock)
    assert again.store.budget.lease(Pool.MAIN, 32, 0).calls == 2
    again.clock.pass_s(4.0)
    assert again.store.budget.lease(Pool.MAIN, 32, 2).calls == 2
    again.store.close()


@pytest.mark.parametrize(
    ("wall_step_ns", "boot", "monotonic_s"),
    [(10**15, "boot-1", 1000.0), (-(10**15), "boot-1", 1000.0), (0, "boot-2", 1e6)],
)
def test_no_step_of_a_clock_and_no_reboot_fills_a_bucket(
    tmp_path: Path, wall_step_ns: int, boot: str, monotonic_s: float
) -> None:
    """Time counts within a boot, on the clock that never steps."""
    store = opened(tmp_path, BudgetSettings(CALLS))
    store.store.budget.lease(Pool.MAIN, 10, 0)
    store.clock.wall += wall_step_ns
    store.clock.boot, store.clock.monotonic = boot, monotonic_s
    assert store.store.budget.lease(Pool.MAIN, 10, 10) == Granted(0, Resource.CALLS)
    store.store.close()


def test_money_bounds_calls_and_pools_do_not_mix(tmp_path: Path) -> None:
    """A call needs both; what one is short of is told; a pool without a bucket is not bounded."""
    money = {**CALLS, (Resource.MONEY, Pool.MAIN): BucketSpec(1.0, 1e-9)}
    store = opened(tmp_path, BudgetSettings(money, cost_per_call=0.3))
    assert store.store.budget.lease(Pool.MAIN, 10, 0) == Granted(3, Resource.MONEY, 0)
    assert left(store)[:2] == (7.0, 3.0)
    assert left(store, Resource.MONEY)[0] == pytest.approx(0.1)
    assert store.store.budget.lease(Pool.AUDIT, 5, 0) == Granted(5, None, sys.maxsize)
    store.store.close()


def test_a_ration_keeps_a_lease_and_says_what_is_short(tmp_path: Path) -> None:
    """A decision spends from memory only; the thread behind brings the next lease."""
    money = {(Resource.MONEY, Pool.MAIN): BucketSpec(4.0, 1e-9)}
    store = opened(tmp_path, BudgetSettings(money, cost_per_call=1.0))
    ration = Ration(store.store.budget)
    assert ration.available(Pool.MAIN) == 0
    ration.run_once()
    assert (ration.available(Pool.MAIN), ration.available(Pool.AUDIT)) == (4, LEASE_CALLS)
    for _ in range(4):
        ration.spend(Pool.MAIN)
    ration.run_once()
    assert ration.available(Pool.MAIN) == 0
    assert ration.short_of(Pool.MAIN) is Shortage.MONEY
    assert left(store, Resource.MONEY) == (0.0, 0.0, 4.0)
    store.store.close()


def bytes_for(main: float, audit: float) -> BudgetSettings:
    """So many items of each pool, and hardly more."""
    return BudgetSettings(
        {
            (Resource.BYTES, Pool.MAIN): BucketSpec(main * ITEM_BYTES, 1e-9),
            (Resource.BYTES, Pool.AUDIT): BucketSpec(audit * ITEM_BYTES, 1e-9),
        }
    )


def test_what_there_are_no_bytes_for_waits(tmp_path: Path) -> None:
    """Audits have bytes of their own; what is paid for and not sent is not paid twice, and a repeat costs again."""
    store = opened(tmp_path, bytes_for(main=2.5, audit=1.5))
    book = PaidBook(store.store.book, store.store.budget)
    for number in range(1, 5):
        store.commit(Unit(decided=(decided(store.store, f"p{number}"),)))
    store.commit(Unit(decided=(audited(store.store, "p5"),)))
    for _ in range(2):
        items = book.next_items(10, frozenset())
        assert sorted(one.item_class for one in items) == [ItemClass.ESCALATION] * 2 + [ItemClass.AUDIT]
    spent = left(store, Resource.BYTES)[2]
    assert spent == pytest.approx(2 * ITEM_BYTES)
    keys = [(one.item_class, one.seq) for one in items]
    book.sent(keys)
    assert book.next_items(10, frozenset(keys)) == []
    assert left(store, Resource.BYTES)[2] == spent
    assert store.counts()["escalations_pending{queued}"] == 2
    store.store.close()


def test_without_a_bound_on_bytes_nothing_is_written(tmp_path: Path) -> None:
    """The book is as it was."""
    store = opened(tmp_path, BudgetSettings(CALLS))
    book = PaidBook(store.store.book, store.store.budget)
    store.commit(Unit(decided=(decided(store.store, "p1"),)))
    assert len(book.next_items(10, frozenset())) == 1
    assert store.store.budget_use() == ()
    store.store.close()
