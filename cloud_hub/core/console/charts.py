"""Owns the series behind the console's charts: regular buckets of time, with gaps where nothing is known."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cloud_hub.core.cases import CaseCount
from cloud_hub.core.console.case_view import REASON_WORDS
from cloud_hub.core.console.wording import share
from cloud_hub.core.trends import TrendPoint
from protos.messages.escalation import Reason

_NS_PER_S = 1_000_000_000
_S_PER_MIN = 60
_BRIDGED_NS = 300 * _NS_PER_S
"""A point speaks for the time since the one before it, if that is not longer: beyond, nothing is known."""


Values = tuple[float | None, ...]
Value = Callable[[Sequence[TrendPoint]], float | None]


@dataclass(frozen=True, slots=True)
class Range:
    """A time span that a page may show: "the last `words`"; `bucket_s` divides it."""

    key: str
    words: str
    span_s: int
    bucket_s: int


RANGES = (
    Range("15m", "15 minutes", 900, 15),
    Range("1h", "hour", 3600, 60),
    Range("6h", "6 hours", 21_600, 300),
    Range("24h", "24 hours", 86_400, 1200),
    Range("7d", "7 days", 604_800, 10_800),
)
DEFAULT_RANGE = RANGES[1]


@dataclass(frozen=True, slots=True)
class Line:
    """One series, one value a bucket; None where nothing is known."""

    name: str
    values: Values


@dataclass(frozen=True, slots=True)
class Chart:
    """What a chart draws.

    Attributes:
        times_s: Starts of the buckets, Unix epoch, UTC.
        stack: Areas that add up, the lowest first.
        lines: Lines over them.
    """

    times_s: tuple[int, ...]
    stack: tuple[Line, ...] = ()
    lines: tuple[Line, ...] = ()

    @property
    def is_unknown(self) -> bool:
        """Whether there is nothing but gaps."""
        return all(value is None for line in (*self.stack, *self.lines) for value in line.values)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing but gaps and zeros."""
        return not any(value for line in (*self.stack, *self.lines) for value in line.values)


def range_of(key: str) -> Range:
    """Look a range up.

    Args:
        key: As it stands in a link.

    Returns:
        The range; the default for an unknown key.
    """
    return next((one for one in RANGES if one.key == key), DEFAULT_RANGE)


def since_ns(span: Range, now_ns: int) -> int:
    """Where a range begins.

    Args:
        span: The range.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        The start of its first bucket.
    """
    bucket_ns = span.bucket_s * _NS_PER_S
    return (now_ns // bucket_ns + 1) * bucket_ns - span.span_s * _NS_PER_S


def escalations(counts: Iterable[CaseCount], span: Range, now_ns: int) -> Chart:
    """Escalated windows a minute by reason, and those of them where the hub disagreed.

    Args:
        counts: What came in.
        span: The range.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        A stack in the order of reasons, without those that never occur, and one line.
    """
    times_s = _times(span, now_ns)
    places = {time_s: place for place, time_s in enumerate(times_s)}
    by_reason: dict[Reason, list[float]] = defaultdict(lambda: [0.0] * len(times_s))
    disagreed = [0.0] * len(times_s)
    for one in counts:
        place = places.get(_bucket(one.bucket_ns, span))
        if place is not None:
            by_reason[one.reason][place] += one.cases * _S_PER_MIN / span.bucket_s
            disagreed[place] += one.disagreed * _S_PER_MIN / span.bucket_s
    stack = tuple(Line(REASON_WORDS[reason], _rounded(by_reason[reason])) for reason in Reason if reason in by_reason)
    return Chart(times_s, stack, (Line("hub disagreed", _rounded(disagreed)),))


def escalation_share(trend: Iterable[TrendPoint], span: Range, now_ns: int) -> Chart:
    """Share of a device's windows that it escalated, by binding, in percent.

    Args:
        trend: Its points.
        span: The range.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        A line a binding.
    """

    def value(points: Sequence[TrendPoint]) -> float | None:
        part = share(sum(one.escalated for one in points), sum(one.decided for one in points))
        return None if part is None else part * 100

    return _lines(trend, span, now_ns, value)


def latency(trend: Iterable[TrendPoint], span: Range, now_ns: int) -> Chart:
    """The highest p95 of each bucket, by binding, in milliseconds.

    Args:
        trend: A device's points.
        span: The range.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        A line a binding.
    """

    def value(points: Sequence[TrendPoint]) -> float | None:
        return max((one.p95_ms for one in points if one.p95_ms is not None), default=None)

    return _lines(trend, span, now_ns, value)


def unsent(trend: Iterable[TrendPoint], span: Range, now_ns: int) -> Chart:
    """Items in a device's outbox, the most of each bucket.

    Args:
        trend: Its points; each binding repeats the device's number.
        span: The range.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        One line.
    """
    times_s = _times(span, now_ns)
    most: dict[int, int] = {}
    for one in trend:
        for bucket in _buckets(one, span):
            most[bucket] = max(most.get(bucket, 0), one.outbox_items)
    return Chart(times_s, lines=(Line("unsent items", tuple(most.get(time_s) for time_s in times_s)),))


def _lines(trend: Iterable[TrendPoint], span: Range, now_ns: int, value: Value) -> Chart:
    times_s = _times(span, now_ns)
    found: dict[str, dict[int, list[TrendPoint]]] = defaultdict(lambda: defaultdict(list))
    for one in trend:
        for bucket in _buckets(one, span):
            found[one.binding][bucket].append(one)
    lines = tuple(
        Line(binding, tuple(_rounded_value(value(buckets.get(time_s, ()))) for time_s in times_s))
        for binding, buckets in sorted(found.items())
    )
    return Chart(times_s, lines=lines)


def _times(span: Range, now_ns: int) -> tuple[int, ...]:
    first_s = since_ns(span, now_ns) // _NS_PER_S
    return tuple(range(first_s, first_s + span.span_s, span.bucket_s))


def _bucket(at_ns: int, span: Range) -> int:
    second = at_ns // _NS_PER_S
    return second - second % span.bucket_s


def _buckets(point: TrendPoint, span: Range) -> range:
    """The buckets that a point speaks for: its own, and those since the point before it."""
    own = _bucket(point.bucket_ns, span)
    if point.span_ns > _BRIDGED_NS:
        return range(own, own + 1)
    first = _bucket(point.bucket_ns - point.span_ns, span) + span.bucket_s
    return range(min(first, own), own + 1, span.bucket_s)


def _rounded(values: Iterable[float]) -> Values:
    return tuple(round(value, 3) for value in values)


def _rounded_value(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
