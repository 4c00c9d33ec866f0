"""Who leaves for want of memory: the least recently used, idle ones first, pinned ones never."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.core.serving.memory import Resident, evictions

OLD = Resident("old@1.0.0", 40, 1, is_pinned=False, is_busy=False)
BUSY = Resident("busy@1.0.0", 40, 0, is_pinned=False, is_busy=True)
NEW = Resident("new@1.0.0", 20, 9, is_pinned=False, is_busy=False)
PINNED = Resident("pinned@1.0.0", 30, 2, is_pinned=True, is_busy=False)


@pytest.mark.parametrize(
    ("needed", "budget", "leaving"),
    [
        (10, 0, ()),
        (10, 140, ()),
        (11, 140, ("old@1.0.0",)),
        (51, 140, ("old@1.0.0", "new@1.0.0")),
        (71, 140, ("old@1.0.0", "new@1.0.0", "busy@1.0.0")),
        (111, 140, None),
    ],
)
def test_as_few_leave_as_make_room(needed: int, budget: int, leaving: tuple[str, ...] | None) -> None:
    """In order, until there is room; None when even all of them would not do."""
    assert evictions([PINNED, NEW, BUSY, OLD], needed, budget) == leaving


_RESIDENTS = st.lists(
    st.builds(Resident, st.uuids().map(str), st.integers(0, 50), st.integers(0, 9), st.booleans(), st.booleans()),
    max_size=8,
)


@given(_RESIDENTS, st.integers(0, 200), st.integers(1, 300))
def test_what_stays_fits_and_pinned_ones_stay(residents: list[Resident], needed: int, budget: int) -> None:
    """After the plan the budget holds; without a plan not even the pinned ones leave room."""
    plan = evictions(residents, needed, budget)
    if plan is None:
        assert sum(one.size_bytes for one in residents if one.is_pinned) + needed > budget
        return
    staying = [one for one in residents if one.pack not in plan]
    assert sum(one.size_bytes for one in staying) + needed <= budget
    assert {one.pack for one in residents if one.is_pinned}.isdisjoint(plan)
