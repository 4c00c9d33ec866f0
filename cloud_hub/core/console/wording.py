"""Owns how the console writes numbers, ages, times and sizes, and which shapes a state has.

Unknown is written `?`, never 0. Times are UTC and say so once a page. What the numbers mean is the other modules'.
"""

from dataclasses import dataclass
from enum import StrEnum

UNKNOWN = "?"
NONE = "—"

_NS_PER_S = 1_000_000_000
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_AGES = ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min"))
_SIZES = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
_FEW = 10
FEW_N = 20
"""Of fewer than so many, a percentage says more than is known: the counts come first."""


class Shape(StrEnum):
    """What a state looks like; the word stands beside it, the colour follows."""

    OK = "ok"
    """A full circle."""
    WARN = "warn"
    """A diamond."""
    BAD = "bad"
    """A triangle."""
    IDLE = "idle"
    """A ring: not known, or nothing yet."""


@dataclass(frozen=True, slots=True)
class State:
    """A state as it is shown."""

    shape: Shape
    word: str


def count(number: int | None) -> str:
    """Write a count: `1,802`.

    Args:
        number: The count; None is not known.

    Returns:
        The text.
    """
    return UNKNOWN if number is None else f"{number:,}"


def plural(number: int, one: str, many: str = "") -> str:
    """Write a count and its noun: `1 device`, `3 devices`.

    Args:
        number: The count.
        one: The noun for one.
        many: The noun for several; with an s by default.

    Returns:
        The text.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def share(part: int, whole: int) -> float | None:
    """Divide, where there is something to divide by.

    Args:
        part: Some of the whole.
        whole: The whole.

    Returns:
        0..1; None when the whole is nothing.
    """
    return None if whole <= 0 else max(0.0, min(1.0, part / whole))


def percent(fraction: float | None) -> str:
    """Write a share without its sign: `93.1`; never `100.0` or `0.0` for what is only almost so.

    Args:
        fraction: 0..1; None is not known.

    Returns:
        The text.
    """
    if fraction is None:
        return UNKNOWN
    if fraction in (0.0, 1.0):
        return f"{fraction * 100:.0f}"
    return f"{min(max(fraction * 100, 0.1), 99.9):.1f}"


def milliseconds(value_ms: float | None) -> str:
    """Write a latency: `3.1`, `42`.

    Args:
        value_ms: None is not known.

    Returns:
        The text, without its unit.
    """
    if value_ms is None:
        return UNKNOWN
    return f"{value_ms:.1f}" if value_ms < _FEW else f"{value_ms:,.0f}"


def confidence(value: float | None) -> str:
    """Write a confidence: `0.61`; never `1.00` for what is only almost so.

    Args:
        value: 0..1; None is not known.

    Returns:
        The text.
    """
    if value is None:
        return UNKNOWN
    return "1.00" if value >= 1.0 else f"{min(value, 0.99):.2f}"


def duration(span_s: float | None) -> str:
    """Write how long something takes or how old it is: `2 s`, `4 min`, `3 h`, `2 d`.

    Args:
        span_s: None is not known.

    Returns:
        The text, in the largest unit that it fills.
    """
    if span_s is None:
        return UNKNOWN
    for unit_s, unit in _AGES:
        if span_s >= unit_s:
            return f"{int(span_s // unit_s)} {unit}"
    return f"{int(max(span_s, 0))} s"


def age(at_ns: int | None, now_ns: int) -> str:
    """Write how long ago something was.

    Args:
        at_ns: Unix epoch, UTC; None is not known.
        now_ns: The same clock, now.

    Returns:
        The text; `0 s` for what lies ahead.
    """
    return UNKNOWN if at_ns is None else duration((now_ns - at_ns) / _NS_PER_S)


def time_of_day(at_ns: int) -> str:
    """Write a time: `08:00:12`.

    Args:
        at_ns: Unix epoch, UTC.

    Returns:
        The time in UTC.
    """
    second = at_ns // _NS_PER_S % _DAY_S
    return f"{second // _HOUR_S:02}:{second // _MINUTE_S % 60:02}:{second % 60:02}"


def day(at_ns: int) -> str:
    """Write a date: `2026-11-21`.

    Args:
        at_ns: Unix epoch, UTC.

    Returns:
        The day in UTC, by the proleptic Gregorian calendar (H. Hinnant, "chrono-compatible low-level date algorithms",
        `civil_from_days`).
    """
    shifted = at_ns // (_NS_PER_S * _DAY_S) + 719_468
    era, day_of_era = divmod(shifted, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    march_month = (5 * day_of_year + 2) // 153
    month = march_month + 3 if march_month < _FEW else march_month - 9
    year = year_of_era + era * 400 + (month <= 2)  # noqa: PLR2004 - January and February end the year that March begins
    return f"{year:04}-{month:02}-{day_of_year - (153 * march_month + 2) // 5 + 1:02}"


def moment(at_ns: int, now_ns: int) -> str:
    """Write a time, with its day unless that is today.

    Args:
        at_ns: Unix epoch, UTC.
        now_ns: The same clock, now.

    Returns:
        The text in UTC.
    """
    return time_of_day(at_ns) if day(at_ns) == day(now_ns) else f"{day(at_ns)} {time_of_day(at_ns)}"


def instant(at_ns: int, now_ns: int) -> str:
    """Write a time where windows of a second follow each other: `08:00:12.5`, with its day unless that is today.

    Args:
        at_ns: Unix epoch, UTC.
        now_ns: The same clock, now.

    Returns:
        The text in UTC, rounded down.
    """
    return f"{moment(at_ns, now_ns)}.{at_ns % _NS_PER_S * 10 // _NS_PER_S}"


def size(number_bytes: int) -> str:
    """Write a size: `10.6 kB`.

    Args:
        number_bytes: The size.

    Returns:
        The text, in decimal units.
    """
    for unit_bytes, unit in _SIZES:
        if number_bytes >= unit_bytes:
            return f"{number_bytes / unit_bytes:.1f} {unit}"
    return f"{number_bytes} B"


def short_digest(digest: str) -> str:
    """Cut a digest to what a person compares: its first 12 hex digits.

    Args:
        digest: `sha256:…`.

    Returns:
        The text.
    """
    return digest.removeprefix("sha256:")[:12]


def short_pack(pack: str) -> str:
    """Write a pack reference for a table: `motion-band-edge 1.0.0`.

    Args:
        pack: `name@version`.

    Returns:
        The text.
    """
    return pack.replace("@", " ")
