"""How numbers, ages and times are written: unknown is `?`, almost all is not all."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.core.console import wording

S = 1_000_000_000


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(None, "?"), (0.0, "0"), (1.0, "100"), (0.9999, "99.9"), (0.00001, "0.1"), (0.931, "93.1"), (0.5, "50.0")],
)
def test_a_share_is_never_rounded_to_nothing_or_to_all(fraction: float | None, text: str) -> None:
    """`100` and `0` are said only when they are true."""
    assert wording.percent(fraction) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "?"), (0.61, "0.61"), (0.997, "0.99"), (1.0, "1.00"), (0.0, "0.00")]
)
def test_a_confidence_is_certain_only_when_it_is(value: float | None, text: str) -> None:
    """Two digits, and 1.00 only for one."""
    assert wording.confidence(value) == text


@pytest.mark.parametrize(
    ("span_s", "text"),
    [
        (None, "?"),
        (-3, "0 s"),
        (0.4, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3_599, "59 min"),
        (7_200, "2 h"),
        (200_000, "2 d"),
    ],
)
def test_a_span_is_told_in_the_largest_unit_that_it_fills(span_s: float | None, text: str) -> None:
    """Rounded down, so that nothing looks older than it is."""
    assert wording.duration(span_s) == text


def test_ages_are_told_against_the_same_clock() -> None:
    """A time ahead is no age; an unknown one is `?`."""
    assert wording.age(None, 5) == "?"
    assert wording.age(10 * S, 5 * S) == "0 s"
    assert wording.age(5 * S, 125 * S) == "2 min"


@pytest.mark.parametrize(("value", "text"), [(None, "?"), (3.14, "3.1"), (42.4, "42"), (1234.0, "1,234")])
def test_a_latency_has_the_digits_that_count(value: float | None, text: str) -> None:
    """A tenth below ten milliseconds, none above."""
    assert wording.milliseconds(value) == text


@pytest.mark.parametrize(
    ("size", "text"), [(12, "12 B"), (10_600, "10.6 kB"), (1_200_000, "1.2 MB"), (3 * 10**9, "3.0 GB")]
)
def test_sizes_are_decimal(size: int, text: str) -> None:
    """As disks and networks count."""
    assert wording.size(size) == text


def test_counts_and_nouns_agree() -> None:
    """One device, several devices, and none of unknown."""
    assert wording.count(1802) == "1,802"
    assert wording.count(None) == "?"
    assert wording.plural(1, "device") == "1 device"
    assert wording.plural(1200, "device") == "1,200 devices"
    assert wording.plural(2, "box", "boxes") == "2 boxes"


def test_a_share_of_nothing_is_unknown() -> None:
    """No division by zero, and never more than all."""
    assert wording.share(1, 0) is None
    assert wording.share(5, 4) == 1.0
    assert wording.share(1, 4) == 0.25


@given(st.integers(min_value=-2_000_000_000, max_value=60_000_000_000))
def test_days_and_times_are_the_calendars(second: int) -> None:
    """The same day and time as the standard library's, before 1970 and far ahead."""
    at = datetime.fromtimestamp(second, UTC)
    assert wording.day(second * S) == at.strftime("%Y-%m-%d")
    assert wording.time_of_day(second * S) == at.strftime("%H:%M:%S")


def test_a_moment_has_its_day_only_when_it_is_another() -> None:
    """Today's times are short."""
    noon = 1_795_305_600 * S
    assert wording.moment(noon, noon + 3600 * S) == "00:00:00"
    assert wording.moment(noon, noon + 90_000 * S) == "2026-11-22 00:00:00"


def test_packs_and_digests_are_cut_to_what_is_compared() -> None:
    """A name with its version, twelve digits of a digest."""
    assert wording.short_pack("band@1.0.0") == "band 1.0.0"
    assert wording.short_digest("sha256:" + "a" * 64) == "a" * 12


def test_an_instant_has_tenths() -> None:
    """Windows of a second follow each other by tenths; another day is named."""
    noon_ns = 1_795_305_600 * 1_000_000_000
    assert wording.instant(noon_ns + 250_000_000, noon_ns) == f"{wording.time_of_day(noon_ns)}.2"
    assert wording.instant(noon_ns - 86_400 * 1_000_000_000, noon_ns).startswith("2026-")
