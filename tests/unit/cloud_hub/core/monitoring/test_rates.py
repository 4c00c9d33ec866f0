"""The escalation rate is watched in both directions: a model that breaks may ask more, or less."""

import pytest

from cloud_hub.core.monitoring.rates import Band, RateWatch, band, has_fallen, has_risen, seen

RUN_LENGTH = 1000.0
WITHIN = band(0.9, 2.0)


def after(rate: float, batches: int = 100, within: Band = WITHIN) -> RateWatch:
    """A watch that saw batches of 20 decisions with such a rate."""
    watch = RateWatch()
    for _ in range(batches):
        watch = seen(watch, 20, round(20 * rate), within)
    return watch


def test_the_band_is_around_what_the_certificate_escalated() -> None:
    """Half of it to twice of it, where such rates exist and can be told apart."""
    assert WITHIN.low == pytest.approx(0.05)
    assert WITHIN.high == pytest.approx(0.2)
    assert band(None, 2.0) == Band(None, None)
    assert band(1.0, 2.0) == Band(None, 0.02)
    assert band(0.0, 2.0) == Band(0.5, None)


def test_a_rate_within_the_band_is_no_news() -> None:
    """As at calibration, neither a rise nor a fall is told."""
    steady = after(0.1)
    assert not has_risen(steady, RUN_LENGTH)
    assert not has_fallen(steady, RUN_LENGTH)
    assert (steady.windows, steady.escalated) == (2000, 200)


def test_a_storm_is_a_rise_and_only_that() -> None:
    """Four times as many questions are told soon."""
    storm = after(0.4, batches=10)
    assert has_risen(storm, RUN_LENGTH)
    assert not has_fallen(storm, RUN_LENGTH)


def test_no_questions_at_all_are_a_fall() -> None:
    """A model that is sure of everything is not a better one."""
    mute = after(0.0, batches=20)
    assert has_fallen(mute, RUN_LENGTH)
    assert not has_risen(mute, RUN_LENGTH)


def test_without_a_certificate_there_is_nothing_to_compare_with() -> None:
    """Counts are kept, alarms are not given."""
    watch = after(0.9, within=band(None, 2.0))
    assert not has_risen(watch, RUN_LENGTH)
    assert not has_fallen(watch, RUN_LENGTH)
    assert watch.escalated == 1800


def test_a_silent_heartbeat_is_no_step() -> None:
    """No decisions, nothing seen; and never more escalations than decisions."""
    watch = after(0.1, batches=1)
    assert seen(watch, 0, 0, WITHIN) is watch
    assert seen(RateWatch(), 5, 9, WITHIN).escalated == 5
