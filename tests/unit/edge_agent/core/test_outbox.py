"""Shares of the outbox: the bound holds, borrowed space is given back, policies are kept."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.outbox import Evict, Insert, Limits, OnFull, Plan, Refuse, Turns, Wait, plan_insert
from protos.messages.escalation import ItemClass

PREDICTION, ESCALATION = ItemClass.PREDICTION, ItemClass.ESCALATION


def limits(on_full: OnFull = OnFull.DROP_OLDEST) -> Limits:
    """100 bytes: 40 for predictions, 60 for escalations."""
    return Limits(100, {PREDICTION: 0.4, ESCALATION: 0.6}, {PREDICTION: on_full, ESCALATION: on_full})


@pytest.mark.parametrize(
    ("usage", "item_class", "size", "on_full", "plan"),
    [
        ({}, PREDICTION, 40, OnFull.DROP_OLDEST, Insert()),
        ({}, PREDICTION, 41, OnFull.DROP_OLDEST, Refuse("too_large")),
        ({PREDICTION: 90}, PREDICTION, 10, OnFull.DROP_OLDEST, Insert()),
        ({PREDICTION: 90}, PREDICTION, 11, OnFull.DROP_OLDEST, Evict({PREDICTION: 1})),
        ({PREDICTION: 90}, PREDICTION, 11, OnFull.DROP_NEWEST, Refuse("drop_newest")),
        ({PREDICTION: 90, ESCALATION: 10}, ESCALATION, 20, OnFull.DROP_OLDEST, Evict({PREDICTION: 20})),
        ({PREDICTION: 90, ESCALATION: 10}, ESCALATION, 20, OnFull.DROP_NEWEST, Evict({PREDICTION: 20})),
        ({PREDICTION: 90, ESCALATION: 10}, ESCALATION, 50, OnFull.DROP_NEWEST, Evict({PREDICTION: 50})),
        ({PREDICTION: 40, ESCALATION: 60}, ESCALATION, 5, OnFull.DROP_OLDEST, Evict({ESCALATION: 5})),
        ({PREDICTION: 35, ESCALATION: 65}, PREDICTION, 20, OnFull.DROP_OLDEST, Evict({PREDICTION: 20})),
        ({PREDICTION: 10, ESCALATION: 90}, PREDICTION, 38, OnFull.DROP_OLDEST, Evict({PREDICTION: 10, ESCALATION: 28})),
    ],
)
def test_plans(usage: dict[ItemClass, int], item_class: ItemClass, size: int, on_full: OnFull, plan: Plan) -> None:
    """Free space first; then what others borrowed, for a class within its share; else its own policy."""
    assert plan_insert(usage, limits(on_full), item_class, size) == plan


ITEMS = st.lists(st.tuples(st.sampled_from([PREDICTION, ESCALATION]), st.integers(1, 70)), max_size=60)


@given(ITEMS, st.sampled_from(list(OnFull)))
def test_the_bound_is_hard_and_every_plan_can_be_carried_out(
    items: list[tuple[ItemClass, int]], on_full: OnFull
) -> None:
    """However items come, the bytes stay within the bound, and no class is refused within its share."""
    bounds = limits(on_full)
    rows: dict[ItemClass, deque[int]] = {PREDICTION: deque(), ESCALATION: deque()}
    for item_class, size in items:
        usage = {name: sum(held) for name, held in rows.items()}
        plan = plan_insert(usage, bounds, item_class, size)
        if isinstance(plan, Refuse | Wait):
            assert usage[item_class] + size > bounds.share_bytes(item_class)
            continue
        if isinstance(plan, Evict):
            for name, wanted in plan.bytes_by_class.items():
                freed = 0
                while freed < wanted:
                    freed += rows[name].popleft()
        rows[item_class].append(size)
        assert sum(map(sum, rows.values())) <= bounds.max_bytes


@pytest.mark.parametrize(
    ("usage", "item_class", "size", "plan"),
    [
        ({PREDICTION: 30}, PREDICTION, 10, Insert()),
        ({PREDICTION: 35}, PREDICTION, 10, Wait()),
        ({PREDICTION: 35, ESCALATION: 64}, PREDICTION, 5, Evict({ESCALATION: 4})),
        ({PREDICTION: 40, ESCALATION: 60}, ESCALATION, 10, Evict({ESCALATION: 10})),
        ({}, PREDICTION, 41, Refuse("too_large")),
    ],
)
def test_a_class_that_blocks_stays_within_its_share_and_loses_nothing(
    usage: dict[ItemClass, int], item_class: ItemClass, size: int, plan: Plan
) -> None:
    """It borrows no space that could be taken back, and waits at its share; the others do as they always do."""
    bounds = Limits(100, {PREDICTION: 0.4, ESCALATION: 0.6}, {PREDICTION: OnFull.BLOCK, ESCALATION: OnFull.DROP_OLDEST})
    assert plan_insert(usage, bounds, item_class, size) == plan


def test_classes_take_turns_by_their_shares() -> None:
    """In any stretch of sending, two backlogs get bytes in proportion to their shares, however large the items."""
    turns = Turns(limits())
    waiting = {PREDICTION: [10] * 400, ESCALATION: [60] * 400}
    chosen = turns.order(waiting, 100)
    sent = {name: sum(waiting[name][: chosen.count(name)]) for name in waiting}
    assert sent[PREDICTION] / (sent[PREDICTION] + sent[ESCALATION]) == pytest.approx(0.4, abs=0.05)


def test_one_item_at_a_time_is_as_fair_as_many() -> None:
    """A window that opens by one item each time must not always give it to the same class."""
    turns = Turns(limits())
    chosen = [turns.order({PREDICTION: [10] * 9, ESCALATION: [60] * 9}, 1)[0] for _ in range(100)]
    assert 10 * chosen.count(PREDICTION) / (60 * chosen.count(ESCALATION)) == pytest.approx(0.4 / 0.6, abs=0.1)


def test_a_class_that_was_idle_gains_nothing_by_it_and_waits_for_nobody() -> None:
    """After a long time of the other one alone, both share at once: no credit was saved up, and none is owed."""
    turns = Turns(limits())
    assert set(turns.order({PREDICTION: [10] * 500, ESCALATION: []}, 500)) == {PREDICTION}
    both = {PREDICTION: [10] * 20, ESCALATION: [10] * 20}
    first = turns.order(both, 10)
    assert 3 <= first.count(PREDICTION) <= 5


def test_no_more_is_chosen_than_waits() -> None:
    """A class without a share is nobody's business."""
    assert Turns(limits()).order({PREDICTION: [1, 2], ESCALATION: [], ItemClass.FEEDBACK: [1]}, 10) == [PREDICTION] * 2
