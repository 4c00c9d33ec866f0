"""Owns the way between RFC 3339 text and integer nanoseconds since the Unix epoch (UTC); reads no clock, knows no zone.

The calendar arithmetic follows Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": days are counted from
1970-01-01 in years that begin in March, so that the leap day is the last day of its year.
"""

import re
from functools import lru_cache

NS_PER_S = 1_000_000_000
MAX_NS = 2**63 - 1
"""The last instant that fits 64 bits: 2262-04-11."""

_NS_PER_MS = 1_000_000
_NS_PER_US = 1_000
_S_PER_DAY = 86_400
_DAYS_PER_ERA = 146_097  # 400 years
_DAYS_TO_EPOCH = 719_468  # from 0000-03-01 to 1970-01-01
_FEBRUARY = 2
_SECOND_CHARS = len("2026-11-21T08:00:00")
_MONTHS = 12
_LONG_MONTH_DAYS = 31
_TEXT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", flags=re.ASCII
)


class TimestampError(ValueError):
    """A text that is no RFC 3339 time; the message says what is wrong with it."""


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to a date of the proleptic Gregorian calendar.

    Args:
        year: From 1.
        month: 1 to 12.
        day: 1 to 31; not checked against the month.

    Returns:
        Negative before 1970.
    """
    year -= month <= _FEBRUARY
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * _DAYS_PER_ERA + day_of_era - _DAYS_TO_EPOCH


def civil_from_days(days: int) -> tuple[int, int, int]:
    """The date that is `days` after 1970-01-01.

    Args:
        days: May be negative.

    Returns:
        Year, month (1 to 12), day (1 to 31).
    """
    era, day_of_era = divmod(days + _DAYS_TO_EPOCH, _DAYS_PER_ERA)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    month = (month_from_march + 2) % 12 + 1
    year = year_of_era + era * 400 + (month <= _FEBRUARY)
    return year, month, day_of_year - (153 * month_from_march + 2) // 5 + 1


def to_text(ns: int) -> str:
    """Write an instant as RFC 3339 in UTC.

    Args:
        ns: Nanoseconds since the Unix epoch, UTC.

    Returns:
        `2026-11-21T08:00:00.250Z`; 3, 6 or 9 digits after the point, as few as lose nothing.
    """
    seconds, fraction = divmod(ns, NS_PER_S)
    if fraction % _NS_PER_MS == 0:
        return f"{_second_text(seconds)}.{fraction // _NS_PER_MS:03d}Z"
    if fraction % _NS_PER_US == 0:
        return f"{_second_text(seconds)}.{fraction // _NS_PER_US:06d}Z"
    return f"{_second_text(seconds)}.{fraction:09d}Z"


@lru_cache(maxsize=256)  # pure; events of one time share their seconds
def _second_text(seconds: int) -> str:
    days, rest = divmod(seconds, _S_PER_DAY)
    minutes, second = divmod(rest, 60)
    hour, minute = divmod(minutes, 60)
    year, month, day = civil_from_days(days)
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}"


def from_text(text: str) -> int:
    """Read an RFC 3339 time.

    Args:
        text: With `Z` or an offset: a local time without one is nobody's time.

    Returns:
        Nanoseconds since the Unix epoch, UTC.

    Raises:
        TimestampError: It is not RFC 3339, names no offset, or is no real date and time (leap seconds included).
    """
    if text[_SECOND_CHARS:] == "Z":  # as most senders write it, many with the same second
        return _whole_second(text)
    return _parsed(text)


@lru_cache(maxsize=64)  # pure; a refusal is not remembered
def _whole_second(text: str) -> int:
    return _parsed(text)


def _parsed(text: str) -> int:
    match = _TEXT.fullmatch(text)
    if match is None:
        raise TimestampError(
            f"{text[:40]!r} is no RFC 3339 time like 2026-11-21T08:00:00.250Z (Z or an offset is needed)"
        )
    day = _day(match[1])
    if day is None:
        raise TimestampError(f"{text!r} names no day of the calendar")
    hour, minute, second = int(match[2]), int(match[3]), int(match[4])
    offset_hour, offset_minute = int(match[7] or 0), int(match[8] or 0)
    if max(hour, offset_hour) > 23 or max(minute, offset_minute, second) > 59:  # noqa: PLR2004 - hours and minutes
        raise TimestampError(f"{text!r} names no time of the day")
    offset_s = (offset_hour * 60 + offset_minute) * 60 * (-1 if match[6] == "-" else 1)
    seconds = day * 86_400 + hour * 3_600 + minute * 60 + second - offset_s
    return seconds * NS_PER_S + int((match[5] or "").ljust(9, "0"))


@lru_cache(maxsize=16)  # pure; messages of one time share their date
def _day(date: str) -> int | None:
    """Days from 1970-01-01 to a date like 2026-11-21; None when the calendar has no such day."""
    year, month, day = int(date[:4]), int(date[5:7]), int(date[8:])
    is_date = 1 <= month <= _MONTHS and 1 <= day <= _LONG_MONTH_DAYS and year >= 1
    found = days_from_civil(year, month, day) if is_date else None
    return None if found is None or civil_from_days(found) != (year, month, day) else found
