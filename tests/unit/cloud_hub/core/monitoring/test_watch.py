"""Which outcome counts against which promise, at which level, and which alarm follows once."""

from collections.abc import Sequence

import pytest

from cloud_hub.core.monitoring.naming import Signs
from cloud_hub.core.monitoring.watch import (
    WHOLE,
    Alarm,
    Limits,
    Measure,
    Outcome,
    Promise,
    Tally,
    alarms_of,
    by_hub,
    by_human,
    counted,
    is_chosen_for_people,
    level_of,
    signs,
)

LIMITS = Limits()
ON_ERROR = Promise(Measure.ERROR, 0.05, 0.05, 0.9, "sha256:1")
ON_DISAGREEMENT = Promise(Measure.DISAGREEMENT, 0.05, 0.05, 0.9, "sha256:2")
BY_CLASS = Promise(Measure.DISAGREEMENT, 0.05, 0.05, 0.9, "sha256:3", ("PEN", "ROW"))


def tallied(losses: Sequence[bool], measure: Measure, promise: Promise | None = ON_ERROR, group: str = WHOLE) -> Tally:
    """A tally that heard these outcomes, at the times 1, 2 and so on."""
    against = level_of(measure, group, promise, LIMITS)
    tally = Tally()
    for now_ns, is_loss in enumerate(losses, start=1):
        tally = counted(tally, is_loss=is_loss, against=against, now_ns=now_ns)
    return tally


def test_the_hub_s_answer_counts_for_disagreement_and_for_the_hub_itself() -> None:
    """An answer that could not be given counts against the hub only."""
    assert by_hub(Outcome("a", "a", is_hub_sure=True)) == {Measure.DISAGREEMENT: False, Measure.HUB_DOUBT: False}
    assert by_hub(Outcome("a", "b", is_hub_sure=False)) == {Measure.DISAGREEMENT: True, Measure.HUB_DOUBT: True}
    assert by_hub(Outcome("a", None, is_hub_sure=False)) == {Measure.HUB_DOUBT: True}


@pytest.mark.parametrize(
    ("hub", "human", "error", "excess", "hub_error"),
    [("b", "b", True, True, False), ("a", "b", True, False, True), ("a", "a", False, False, False)],
)
def test_a_person_s_label_judges_both(hub: str, human: str, error: bool, excess: bool, hub_error: bool) -> None:  # noqa: FBT001 - a table of truths
    """Excess is an error that the hub would not have made."""
    found = by_human(Outcome("a", hub, is_hub_sure=True, human=human))
    assert found == {Measure.ERROR: error, Measure.EXCESS: excess, Measure.HUB_ERROR: hub_error}


def test_a_label_before_the_hub_s_answer_judges_the_edge_alone() -> None:
    """And no label judges nobody."""
    assert by_human(Outcome("a", None, is_hub_sure=False, human="b")) == {Measure.ERROR: True}
    assert by_human(Outcome("a", "b", is_hub_sure=True)) == {}


def test_the_lottery_for_people_looks_at_the_id_only() -> None:
    """The same window is chosen each time it is asked, and about so many as the share says."""
    ids = [f"prediction-{n}" for n in range(2000)]
    chosen = [one for one in ids if is_chosen_for_people(one, 0.25)]
    assert 400 < len(chosen) < 600
    assert chosen == [one for one in ids if is_chosen_for_people(one, 0.25)]
    assert all(is_chosen_for_people(one, 1.0) for one in ids)
    assert not any(is_chosen_for_people(one, 0.0) for one in ids)


def test_a_certificate_on_error_is_void_by_people_only() -> None:
    """The hub's disagreement gives the weaker statement, under its own name."""
    by_people, by_the_hub = (tallied([True] * 6, one) for one in (Measure.ERROR, Measure.DISAGREEMENT))
    assert alarms_of(Measure.ERROR, Tally(), by_people, ON_ERROR) == (Alarm.VOID, Alarm.CHANGED)
    assert alarms_of(Measure.DISAGREEMENT, Tally(), by_the_hub, ON_ERROR) == (Alarm.DISAGREEMENT,)


def test_a_certificate_on_disagreement_is_void_by_the_hub() -> None:
    """There its answers are the statement; labels of people are only counted."""
    found = tallied([True] * 6, Measure.DISAGREEMENT, ON_DISAGREEMENT)
    assert alarms_of(Measure.DISAGREEMENT, Tally(), found, ON_DISAGREEMENT) == (Alarm.VOID, Alarm.CHANGED)
    assert level_of(Measure.ERROR, WHOLE, ON_DISAGREEMENT, LIMITS) is None


def test_an_alarm_is_given_once() -> None:
    """It stands from its first time on, and what follows says nothing new."""
    first = tallied([True] * 4, Measure.ERROR)
    more = tallied([True] * 9, Measure.ERROR)
    assert first.refuted_at_ns is not None
    assert (more.refuted_at_ns, more.n) == (first.refuted_at_ns, 9)
    assert alarms_of(Measure.ERROR, more, tallied([True] * 10, Measure.ERROR), ON_ERROR) == ()
    doubted = tallied([True] * 6, Measure.DISAGREEMENT)
    assert alarms_of(Measure.DISAGREEMENT, doubted, doubted, ON_ERROR) == ()


def test_the_levels_of_the_groups_add_up_to_delta() -> None:
    """However many groups are tested, one is called void wrongly with probability delta at most."""
    levels = [level_of(Measure.DISAGREEMENT, group, BY_CLASS, LIMITS) for group in BY_CLASS.groups]
    assert sum(one.level for one in levels if one is not None) == pytest.approx(BY_CLASS.delta)
    assert {one.run_length for one in levels if one is not None} == {2 * LIMITS.run_length}


def test_an_answer_that_no_group_speaks_for_is_only_counted() -> None:
    """A certificate by class says nothing of a class that it does not name."""
    assert BY_CLASS.group_of("ROW") == "ROW"
    assert BY_CLASS.group_of("JUMP") == WHOLE
    assert ON_ERROR.group_of("ROW") == WHOLE
    uncertain = tallied([True] * 20, Measure.DISAGREEMENT, BY_CLASS)
    assert (uncertain.n, uncertain.has_alarmed) == (20, False)


def test_without_a_certificate_only_the_hub_is_tested() -> None:
    """Nothing was promised of the edge."""
    assert level_of(Measure.DISAGREEMENT, WHOLE, None, LIMITS) is None
    for measure, target in ((Measure.HUB_ERROR, LIMITS.hub_error), (Measure.HUB_DOUBT, LIMITS.hub_doubt)):
        against = level_of(measure, WHOLE, None, LIMITS)
        assert against is not None
        assert against.target == target
        found = tallied([True] * 8, measure, None)
        assert alarms_of(measure, Tally(), found, None) == (Alarm.HUB_FAILS,)


def test_the_alarms_that_stand_give_the_signs() -> None:
    """Each of the three that break the promise is enough to say so."""
    for alarm in (Alarm.VOID, Alarm.CHANGED, Alarm.DISAGREEMENT):
        assert signs({alarm}) == Signs(kept_fails=True)
    others = {Alarm.HUB_FAILS, Alarm.ESCALATES_MORE, Alarm.ESCALATES_LESS, Alarm.INPUTS_MOVED}
    assert signs(others) == Signs(hub_fails=True, escalates_more=True, escalates_less=True, inputs_moved=True)
    assert signs(()) == Signs()
