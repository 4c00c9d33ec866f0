"""Shares of the outbox: the bound holds, borrowed space is given back, policies are kept."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.outbox import Evict, Insert, Limits, OnFull, Plan, Refuse, plan_insert
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
    """However items come, the bytes stay within the bound, and a class within its share is never refused."""
    bounds = limits(on_full)
    rows: dict[ItemClass, deque[int]] = {PREDICTION: deque(), ESCALATION: deque()}
    for item_class, size in items:
        usage = {name: sum(held) for name, held in rows.items()}
        plan = plan_insert(usage, bounds, item_class, size)
        if isinstance(plan, Refuse):
            assert usage[item_class] + size > bounds.share_bytes(item_class)
            continue
        if isinstance(plan, Evict):
            for name, wanted in plan.bytes_by_class.items():
                freed = 0
                while freed < wanted:
                    freed += rows[name].popleft()
        rows[item_class].append(size)
        assert sum(map(sum, rows.values())) <= bounds.max_bytes
