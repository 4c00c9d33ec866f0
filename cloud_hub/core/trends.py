"""Owns how the totals that devices report become a curve: what is kept of a heartbeat, and the increments on reading.

One row a device, binding and bucket holds the totals as of the bucket's last heartbeat, so a lost or repeated heartbeat
changes nothing. When buckets are written and pruned is the store's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from cloud_hub.core.devices import DeviceKey
from protos.messages.fleet import BindingReport, Heartbeat

MAX_BINDING_CHARS = 64
BEGINNING_NS = 300 * 1_000_000_000
"""A device that first reports so soon after its enrolment has decided all of it since then."""
MAX_BINDINGS = 256
_MAX_COUNT = 2**63 - 1


@dataclass(frozen=True, slots=True)
class TrendTotals:
    """What one bucket holds: totals since the device's store was made, as of the bucket's last heartbeat.

    Attributes:
        bucket_ns: Start of the bucket; wall clock of the hub, Unix epoch, UTC.
        p95_ms: From message to answer, as last reported in the bucket; None: nothing was answered, or not known.
        outbox_items: Of the whole device, so the same for each of its bindings.
    """

    device: DeviceKey
    binding: str
    bucket_ns: int
    decided: int
    escalated: int
    answered: int
    p95_ms: float | None
    outbox_items: int


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """What happened in one bucket.

    Attributes:
        bucket_ns: Start of the bucket; wall clock of the hub, Unix epoch, UTC.
        span_ns: The time that the counts cover: from the start of the series' bucket before; longer than a bucket
            after silence.
        decided: Predictions made in that time; `escalated` and `answered` likewise.
        p95_ms: From message to answer, as last reported in the bucket; None: nothing was answered, or not known.
        outbox_items: Waiting at the bucket's end, of the whole device: not to be added over bindings.
    """

    device: DeviceKey
    binding: str
    bucket_ns: int
    span_ns: int
    decided: int
    escalated: int
    answered: int
    p95_ms: float | None
    outbox_items: int


def bucket_of(at_ns: int, bucket_ns: int) -> int:
    """Find the bucket of a time.

    Args:
        at_ns: Wall clock, Unix epoch, UTC.
        bucket_ns: Length of a bucket.

    Returns:
        The bucket's start.
    """
    return at_ns - at_ns % bucket_ns


def totals(device: DeviceKey, heartbeat: Heartbeat, bucket_ns: int) -> tuple[TrendTotals, ...]:
    """Take from a heartbeat what its bucket holds.

    Args:
        device: Who reports.
        heartbeat: Its report; the numbers and texts are a peer's.
        bucket_ns: Start of the bucket.

    Returns:
        One entry a binding; what the tables cannot hold is left out.
    """
    named = {one.binding: one for one in heartbeat.bindings[:MAX_BINDINGS] if _fits(one)}
    return tuple(
        TrendTotals(
            device=device,
            binding=binding,
            bucket_ns=bucket_ns,
            decided=one.decided,
            escalated=one.escalated,
            answered=one.answered,
            p95_ms=one.answer_p95_ms,
            outbox_items=min(heartbeat.outbox_items, _MAX_COUNT),
        )
        for binding, one in named.items()
    )


def increments(
    rows: Iterable[TrendTotals], since_ns: int, enrolled_ns: Mapping[DeviceKey, int] | None = None
) -> tuple[TrendPoint, ...]:
    """Turn totals into what happened in each bucket.

    A total that went back belongs to a new store on the device: it counts from zero. So does the first bucket of a
    device that was enrolled just before it; the first bucket of any other series has nothing to count from, and gives
    no point.

    Args:
        rows: Ordered by bucket; those before `since_ns` are only counted from.
        since_ns: Earliest bucket that is told.
        enrolled_ns: When devices were enrolled that may be so new; wall clock of the hub, Unix epoch, UTC.

    Returns:
        The points, in the order of the rows.
    """
    before: dict[tuple[DeviceKey, str], TrendTotals] = {}
    points: list[TrendPoint] = []
    for row in rows:
        last = before.get((row.device, row.binding))
        before[row.device, row.binding] = row
        last = last or _beginning(row, (enrolled_ns or {}).get(row.device))
        if last is None or row.bucket_ns < since_ns:
            continue
        is_anew = row.decided < last.decided or row.escalated < last.escalated or row.answered < last.answered
        points.append(
            TrendPoint(
                device=row.device,
                binding=row.binding,
                bucket_ns=row.bucket_ns,
                span_ns=row.bucket_ns - last.bucket_ns,
                decided=row.decided - (0 if is_anew else last.decided),
                escalated=row.escalated - (0 if is_anew else last.escalated),
                answered=row.answered - (0 if is_anew else last.answered),
                p95_ms=row.p95_ms,
                outbox_items=row.outbox_items,
            )
        )
    return tuple(points)


def _beginning(first: TrendTotals, enrolled_ns: int | None) -> TrendTotals | None:
    """What a new device's first bucket counts from: nothing, since its enrolment."""
    if enrolled_ns is None or not -BEGINNING_NS <= first.bucket_ns - enrolled_ns <= BEGINNING_NS:
        return None
    return replace(first, bucket_ns=min(enrolled_ns, first.bucket_ns), decided=0, escalated=0, answered=0)


def _fits(report: BindingReport) -> bool:
    return (
        0 < len(report.binding) <= MAX_BINDING_CHARS
        and report.binding.isprintable()
        and max(report.decided, report.escalated, report.answered) <= _MAX_COUNT
    )
