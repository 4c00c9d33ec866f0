"""A policy version gathers its own evidence: by measure, stratum and group, from audits, people and reports."""

from dataclasses import replace

from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.monitoring.naming import Drift
from cloud_hub.core.monitoring.record import (
    Found,
    PolicyKey,
    PolicyRecord,
    Stratum,
    TallyKey,
    Totals,
    inputs_moved,
    judged,
    new_alarms,
    reported,
)
from cloud_hub.core.monitoring.watch import WHOLE, Alarm, Limits, Measure, Promise
from protos.messages.fleet import PolicyReport, PolicyState

PRESS = DeviceKey("acme", "hall-1", "press-07")
PROMISE = Promise(Measure.DISAGREEMENT, 0.05, 0.05, 0.9, "sha256:c")
NEW = PolicyRecord(PolicyKey(PRESS, "motion", "sha256:p", 0), "band@1.0.0", 1, promise=PROMISE)
LIMITS = Limits()
WRONG = Found(Stratum.KEPT, {Measure.DISAGREEMENT: True, Measure.HUB_DOUBT: False}, "PEN")
RIGHT = replace(WRONG, losses={Measure.DISAGREEMENT: False, Measure.HUB_DOUBT: False})
REPORT = PolicyReport("motion", 0, "band@1.0.0", "sha256:p", 100, 90, 10, 9, 1, 0.1, 0.93, PolicyState.ACTIVE)


def after(record: PolicyRecord, *news: Found) -> PolicyRecord:
    """The record with news, one a nanosecond."""
    for now_ns, found in enumerate(news, start=1):
        record = judged(record, found, LIMITS, now_ns)
    return record


def test_audits_refute_a_promise_and_say_when() -> None:
    """The alarms stand with their times, and what happened has a name."""
    void = after(NEW, *[WRONG] * 6)
    assert void.is_void
    assert void.alarms[Alarm.VOID] <= void.alarms[Alarm.CHANGED]
    assert void.drift is Drift.SILENT_FAILURE
    assert new_alarms(NEW, void) == (Alarm.VOID, Alarm.CHANGED)
    assert new_alarms(void, after(void, WRONG)) == ()
    assert (NEW.drift, NEW.is_void) == (None, False)


def test_what_was_escalated_is_counted_and_never_tested() -> None:
    """It is what the edge is bad at: wrong answers there break no promise about what is kept."""
    record = after(NEW, *[replace(WRONG, stratum=Stratum.ESCALATED)] * 50)
    assert record.alarms == {}
    assert record.tally(Measure.DISAGREEMENT, Stratum.ESCALATED).losses == 50
    assert record.tally(Measure.DISAGREEMENT, Stratum.KEPT).n == 0


def test_groups_are_tested_apart_and_summed_for_people() -> None:
    """One bad class is called void although all together hold."""
    by_class = replace(NEW, promise=replace(PROMISE, groups=("PEN", "ROW")))
    good = replace(RIGHT, group="ROW")
    record = after(by_class, *[good] * 200, *[WRONG] * 6)
    assert record.is_void
    assert record.tallies[TallyKey(Measure.DISAGREEMENT, Stratum.KEPT, "ROW")].refuted_at_ns is None
    assert record.tallies[TallyKey(Measure.HUB_DOUBT, Stratum.KEPT, WHOLE)].n == 206
    whole = record.tally(Measure.DISAGREEMENT, Stratum.KEPT)
    assert (whole.n, whole.losses) == (206, 6)


def test_without_a_promise_everything_is_counted_as_a_whole() -> None:
    """Groups are the certificate's; without one there is nothing to tell apart."""
    record = after(replace(NEW, promise=None), WRONG)
    assert record.tallies[TallyKey(Measure.DISAGREEMENT, Stratum.KEPT)].losses == 1
    assert record.alarms == {}


def test_a_report_moves_the_totals_and_the_rate() -> None:
    """What came since the report before is one batch."""
    first = reported(NEW, REPORT, LIMITS, 5)
    second = reported(first, replace(REPORT, decided=200, kept=180, escalated=20), LIMITS, 6)
    assert second.totals == Totals(200, 180, 20, 9, 1)
    assert (second.rates.windows, second.rates.escalated) == (200, 20)
    assert (second.threshold, second.audit_rate, second.reported_at_ns) == (0.93, 0.1, 6)


def test_totals_that_went_back_count_from_zero() -> None:
    """The device has a new database; nothing is counted twice and nothing below zero."""
    first = reported(NEW, REPORT, LIMITS, 5)
    anew = reported(first, replace(REPORT, decided=30, kept=27, escalated=3), LIMITS, 6)
    assert (anew.rates.windows, anew.rates.escalated) == (130, 13)


def test_a_storm_and_a_silence_are_told_once() -> None:
    """Both directions of the rate, with the time at which each was first seen."""
    storm = reported(NEW, replace(REPORT, decided=1000, kept=0, escalated=1000), LIMITS, 5)
    assert storm.alarms == {Alarm.ESCALATES_MORE: 5}
    assert storm.drift is Drift.ESCALATION_STORM
    mute = NEW
    for now_ns in range(1, 30):
        mute = reported(mute, replace(REPORT, decided=100 * now_ns, kept=100 * now_ns, escalated=0), LIMITS, now_ns)
    assert set(mute.alarms) == {Alarm.ESCALATES_LESS}
    assert mute.alarms[Alarm.ESCALATES_LESS] < 29


def test_without_a_certificate_no_rate_is_judged() -> None:
    """There is nothing to compare it with."""
    found = reported(replace(NEW, promise=None), replace(REPORT, escalated=100, kept=0), LIMITS, 5)
    assert found.alarms == {}


def test_the_device_s_word_on_its_inputs_stands_once() -> None:
    """Alone it is benign: inputs moved, the promise holds so far."""
    moved = inputs_moved(NEW, 5)
    assert moved.alarms == {Alarm.INPUTS_MOVED: 5}
    assert moved.drift is Drift.BENIGN
    assert inputs_moved(moved, 9).alarms == {Alarm.INPUTS_MOVED: 5}


def test_the_estimate_is_of_both_strata() -> None:
    """Escalated windows are counted, kept ones estimated from audits, lost audits bracketed for the hub only."""
    record = reported(after(NEW, WRONG, *[RIGHT] * 8), REPORT, LIMITS, 5)
    record = after(record, *[replace(WRONG, stratum=Stratum.ESCALATED)] * 10)
    kept, edge = record.kept_risk(Measure.DISAGREEMENT), record.edge_risk(Measure.DISAGREEMENT)
    assert kept.value == 1 / 9
    assert edge.value == (90 / 9 + 10) / 100
    assert kept.low < 1 / 9 < kept.high
    assert record.kept_risk(Measure.ERROR).value is None


def test_what_was_short_of_budget_has_a_risk_of_its_own() -> None:
    """It is known from the lottery's sample alone, counted once, and tested never."""
    said = replace(REPORT, decided=1000, kept=700, escalated=120, suppressed=180, suppressed_asked=20, unanswered=5)
    record = reported(replace(NEW, promise=replace(PROMISE, coverage=0.7)), said, LIMITS, 5)
    assert (record.totals.sampled, record.totals.wanted) == (200, 300)
    assert record.suppressed_risk(Measure.DISAGREEMENT).value is None
    sample = replace(WRONG, stratum=Stratum.SUPPRESSED)
    record = after(record, *[sample] * 10, *[replace(RIGHT, stratum=Stratum.SUPPRESSED)] * 10)
    found = record.suppressed_risk(Measure.DISAGREEMENT)
    assert (found.value, found.n) == (0.5, 20)
    assert found.low < 0.5 < found.high
    assert record.alarms == {}
    record = after(record, *[replace(WRONG, stratum=Stratum.ESCALATED)] * 100, *[RIGHT] * 10)
    whole = record.edge_risk(Measure.DISAGREEMENT).value
    assert whole == (0.5 * 200 + 100) / 1000


def test_a_short_budget_is_no_change_of_the_escalation_rate() -> None:
    """The policy escalates as it did: that nobody is asked is the budget's doing."""
    record = replace(NEW, promise=replace(PROMISE, coverage=0.8))
    for beat in range(1, 200):
        said = replace(REPORT, decided=100 * beat, kept=80 * beat, escalated=beat, suppressed=19 * beat)
        record = reported(record, said, LIMITS, beat)
    assert Alarm.ESCALATES_LESS not in record.alarms


def test_an_agent_that_begins_or_ends_to_tell_of_suppressed_windows_is_no_change_of_the_rate() -> None:
    """They have been counted since the store was made: what a newer agent tells first is no news of one heartbeat."""
    record = replace(NEW, promise=replace(PROMISE, coverage=0.8))
    for beat in range(1, 20):
        has_newer_agent = 5 <= beat < 15
        suppressed = 1900 + 19 * beat if has_newer_agent else 0
        said = replace(REPORT, decided=10_000 + 100 * beat, kept=80 * beat, escalated=100 + beat, suppressed=suppressed)
        record = reported(record, said, LIMITS, beat)
    assert Alarm.ESCALATES_MORE not in record.alarms


def test_a_count_that_falls_is_no_reason_to_lose_the_heartbeat() -> None:
    """One device's nonsense must not fail the transaction that it shares with all the others."""
    record = reported(replace(NEW, promise=PROMISE), replace(REPORT, suppressed=50), LIMITS, 5)
    record = reported(record, replace(REPORT, decided=200, suppressed=1), LIMITS, 6)
    assert (record.totals.decided, record.totals.suppressed, record.rates.escalated >= 0) == (200, 1, True)
