"""Times as text and as nanoseconds, compared with the standard library."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.timestamps import (
    MAX_NS,
    NS_PER_S,
    TimestampError,
    civil_from_days,
    days_from_civil,
    from_text,
    to_text,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.dates())
def test_days_agree_with_the_standard_library(day: date) -> None:
    """Both ways, over every date that datetime knows."""
    days = (day - EPOCH.date()).days
    assert days_from_civil(day.year, day.month, day.day) == days
    assert civil_from_days(days) == (day.year, day.month, day.day)


@given(st.integers(0, MAX_NS))
def test_text_and_back_loses_nothing(ns: int) -> None:
    """Nanoseconds survive."""
    assert from_text(to_text(ns)) == ns


@given(st.datetimes(timezones=st.builds(timezone, st.integers(-1439, 1439).map(lambda m: timedelta(minutes=m)))))
def test_offsets_are_taken_into_account(moment: datetime) -> None:
    """What datetime writes is read as the same instant."""
    expected = (moment - EPOCH) // timedelta(microseconds=1) * 1000
    assert from_text(moment.isoformat()) == expected


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (250_000_000, "1970-01-01T00:00:00.250Z"),
        (1_500, "1970-01-01T00:00:00.000001500Z"),
        (20_000, "1970-01-01T00:00:00.000020Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (951_782_400 * NS_PER_S, "2000-02-29T00:00:00.000Z"),
    ],
)
def test_as_few_digits_as_lose_nothing(ns: int, text: str) -> None:
    """Three, six or nine digits after the point."""
    assert to_text(ns) == text


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("2026-11-21T08:00:00", "no RFC 3339 time"),
        ("2026-11-21 08:00:00Z", "no RFC 3339 time"),
        ("2026-11-21T08:00:00.Z", "no RFC 3339 time"),
        ("2026-11-21T08:00:00.0000000001Z", "no RFC 3339 time"),
        ("２026-11-21T08:00:00Z", "no RFC 3339 time"),  # noqa: RUF001 - a digit that is not ASCII
        ("2026-13-21T08:00:00Z", "no day of the calendar"),
        ("2026-02-29T08:00:00Z", "no day of the calendar"),
        ("2026-04-31T08:00:00Z", "no day of the calendar"),
        ("2026-01-00T08:00:00Z", "no day of the calendar"),
        ("0000-01-01T08:00:00Z", "no day of the calendar"),
        ("2026-11-21T24:00:00Z", "no time of the day"),
        ("2026-11-21T23:59:60Z", "no time of the day"),
        ("2026-11-21T08:00:00+24:00", "no time of the day"),
    ],
)
def test_what_is_no_time_is_refused(text: str, wrong: str) -> None:
    """The message says which rule it breaks."""
    with pytest.raises(TimestampError, match=wrong):
        from_text(text)
