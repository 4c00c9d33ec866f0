"""Each alarm is told with its numbers and with what was allowed."""

from dataclasses import replace

import pytest

from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.monitoring.findings import found_by
from cloud_hub.core.monitoring.rates import RateWatch
from cloud_hub.core.monitoring.record import Found, PolicyKey, PolicyRecord, Stratum, judged
from cloud_hub.core.monitoring.watch import Alarm, Limits, Measure, Promise

LIMITS = Limits()
ON_ERROR = Promise(Measure.ERROR, 0.05, 0.05, 0.9, "sha256:c")
NEW = PolicyRecord(PolicyKey(DeviceKey("o", "s", "d"), "band", "sha256:p", 0), "a@1.0.0", 1, promise=ON_ERROR)
ALL_FOUR = "4 of 4 audited windows, allowed 10 %"
LOST = {Measure.ERROR: True, Measure.DISAGREEMENT: True, Measure.HUB_ERROR: True, Measure.HUB_DOUBT: True}


def heard(record: PolicyRecord, n: int, group: str = "") -> PolicyRecord:
    """After so many audits that lost in every way."""
    for _ in range(n):
        record = judged(record, Found(Stratum.KEPT, LOST, group), LIMITS, 1)
    return record


@pytest.mark.parametrize(
    ("alarm", "sentence"),
    [
        (Alarm.VOID, "4 of 4 audited windows wrong, promised at most 5 %"),
        (Alarm.CHANGED, "4 of 4 audited windows wrong, promised at most 5 %"),
        (Alarm.DISAGREEMENT, "4 of 4 audited windows disagreed with, promised at most 5 % (the weaker statement)"),
        (
            Alarm.HUB_FAILS,
            f"people contradict the hub in {ALL_FOUR}; the hub is in doubt in {ALL_FOUR}",
        ),
        (Alarm.INPUTS_MOVED, "an input statistic has changed"),
    ],
)
def test_an_alarm_says_what_was_found(alarm: Alarm, sentence: str) -> None:
    """Numbers first, then what was allowed."""
    assert found_by(alarm, heard(NEW, 4), LIMITS) == sentence


def test_rates_are_held_against_calibration() -> None:
    """With the share that was escalated there, where it is known."""
    record = replace(NEW, rates=RateWatch(200, 80))
    assert found_by(Alarm.ESCALATES_MORE, record, LIMITS) == "40 % of 200 windows escalated, 10 % at calibration"
    unknown = replace(NEW, promise=replace(ON_ERROR, coverage=None))
    assert found_by(Alarm.ESCALATES_LESS, unknown, LIMITS) == "0 % of 0 windows escalated"
    assert found_by(Alarm.ESCALATES_LESS, replace(NEW, promise=None), LIMITS) == "0 % of 0 windows escalated"


def test_the_worst_group_is_named() -> None:
    """A certificate by class is refuted by a class."""
    record = replace(NEW, promise=replace(ON_ERROR, risk=Measure.DISAGREEMENT, groups=("a", "b")))
    found = found_by(Alarm.VOID, heard(heard(record, 1, "a"), 3, "b"), LIMITS)
    assert found == "3 of 3 audited windows answered b disagreed with, promised at most 5 %"
    of_all = found_by(Alarm.DISAGREEMENT, record, LIMITS)
    assert of_all == "promised at most 5 %"
