"""The rollout's table: each step waits for its fact, the right wrists come first, the left ones last."""

from dataclasses import replace

import pytest

from deploy.demo.fleet import LEFT
from deploy.demo.report import MENDED_WINDOWS
from deploy.demo.rollout import RIGHT, TABLE, Facts, Order, Step, advance

NOTHING = Facts(is_compared=False, installed=frozenset(), is_refused=False, mended_windows=0)
COMPARED = replace(NOTHING, is_compared=True)
ON_RIGHT = replace(COMPARED, installed=frozenset(RIGHT))
REFUSED = replace(ON_RIGHT, is_refused=True)
ON_LEFT = replace(REFUSED, installed=frozenset((*RIGHT, LEFT.name)))
MENDED = replace(ON_LEFT, mended_windows=MENDED_WINDOWS)


def test_the_orders_come_one_by_one_as_the_facts_do() -> None:
    """No window of the comparison meets another pack; the left agent refuses the patch before it gets v2."""
    step, orders = Step.COMPARISON, []
    for facts in (NOTHING, COMPARED, ON_RIGHT, REFUSED, ON_LEFT, MENDED, MENDED):
        step, order = advance(step, facts)
        orders.append(order)
    assert orders == [
        None,
        Order.PUBLISH_AND_UPDATE_RIGHT,
        Order.PATCH_LEFT,
        Order.UPDATE_LEFT,
        None,
        Order.FINISH,
        None,
    ]
    assert step is Step.DONE


@pytest.mark.parametrize("step", list(Step))
def test_without_its_fact_no_step_goes_on(step: Step) -> None:
    """Waiting is what every step does until its fact is there; the last one has nothing to wait for."""
    assert advance(step, NOTHING) == (step, None)


def test_the_table_leads_from_the_first_step_to_the_last() -> None:
    """Every step but the last has a row, and each leads to the next."""
    assert [rule.then for rule in TABLE.values()] == list(Step)[1:]
    assert list(TABLE) == list(Step)[:-1]


def test_one_right_agent_is_not_all_of_them() -> None:
    """The left wrists wait for both."""
    assert advance(Step.RIGHT_WRISTS, replace(COMPARED, installed=frozenset(RIGHT[:1])))[1] is None


def test_windows_answered_on_trial_do_not_end_the_wait() -> None:
    """The second student answers while it is on trial; done is when it stays, and has answered enough."""
    on_trial = replace(REFUSED, mended_windows=MENDED_WINDOWS)
    assert advance(Step.LEFT_WRIST, on_trial) == (Step.LEFT_WRIST, None)
