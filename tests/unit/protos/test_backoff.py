"""Many devices that lose their hub at once come back without a storm; simulated, so that an outage takes no time."""

import heapq
import random
from collections import Counter

import pytest

from protos.link.backoff import Backoff, RetryBudget

DEVICES = 200
CAP_S = 15.0
OUTAGE_S = 60.0


def _dials_s(*, outage_s: float, session_s: float, until_s: float) -> list[float]:
    """When 200 devices dial a hub that dies at 0 and is back after the outage; each session then lasts so long."""
    random.seed(7)
    devices = [(Backoff(cap_s=CAP_S), RetryBudget()) for _ in range(DEVICES)]
    queue = [(max(backoff.next_s(), budget.spend(0.0)), place) for place, (backoff, budget) in enumerate(devices)]
    heapq.heapify(queue)
    dials_s: list[float] = []
    while queue:
        now_s, place = heapq.heappop(queue)
        if now_s > until_s:
            continue
        dials_s.append(now_s)
        backoff, budget = devices[place]
        if now_s >= outage_s:
            backoff.reset()
            now_s += session_s
        heapq.heappush(queue, (now_s + max(backoff.next_s(), budget.spend(now_s)), place))
    return dials_s


def test_a_hub_that_is_back_is_not_met_by_all_at_once() -> None:
    """After a minute's outage they come over the cap of the backoff, each once; meanwhile they knock seldom."""
    dials_s = _dials_s(outage_s=OUTAGE_S, session_s=3600.0, until_s=OUTAGE_S + 300.0)
    back = [at_s for at_s in dials_s if at_s >= OUTAGE_S]
    assert len(back) == DEVICES
    assert max(back) < OUTAGE_S + CAP_S
    assert max(Counter(int(at_s) for at_s in back).values()) < DEVICES / 5
    assert len(dials_s) - len(back) < DEVICES * 20


def test_a_hub_that_greets_and_dies_is_dialled_within_the_budget() -> None:
    """A success forgets the failures each time, so the backoff alone would dial several times a second for ever."""
    dials_s = _dials_s(outage_s=0.0, session_s=0.0, until_s=600.0)
    assert len(dials_s) <= DEVICES * (20 + 600 / 3.0)


@pytest.mark.parametrize(("pause_s", "waits_s"), [(0.0, [0, 0, 10, 20]), (10.0, [0, 0, 0, 0]), (5.0, [0, 0, 0, 5])])
def test_a_budget_is_a_burst_and_then_a_rate(pause_s: float, waits_s: list[float]) -> None:
    """Two at once; the tokens come back one each ten seconds, and never more than the burst."""
    budget = RetryBudget(burst=2, every_s=10.0)
    assert [budget.spend(1000.0 + pause_s * turn) for turn in range(4)] == waits_s
    assert [budget.spend(9000.0) for _ in range(3)] == [0, 0, 10]
