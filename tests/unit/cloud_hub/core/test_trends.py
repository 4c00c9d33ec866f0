"""Trends: totals become increments, whatever is lost, repeated or begun anew."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.trends import BEGINNING_NS, MAX_BINDINGS, TrendTotals, bucket_of, increments, totals
from protos.messages.fleet import BindingReport, Heartbeat
from protos.messages.inference import ModelUse

PRESS = DeviceKey("o", "s", "press-07")
REPORT = BindingReport("band", ModelUse("band@1.0.0", "sha256:1"), 10, 4, 3, "certified", 2.5)
ROW = TrendTotals(PRESS, "band", 60, 10, 4, 3, 2.5, 7)


def beat(*bindings: BindingReport, outbox_items: int = 7) -> Heartbeat:
    """A heartbeat with these bindings."""
    return Heartbeat(1, 1, "ok", (), 0, outbox_items, None, bindings)


@pytest.mark.parametrize(("at_ns", "bucket_ns"), [(0, 0), (59, 0), (60, 60), (61, 60), (-1, -60)])
def test_a_time_belongs_to_the_bucket_that_began_last(at_ns: int, bucket_ns: int) -> None:
    """Buckets are aligned to the epoch."""
    assert bucket_of(at_ns, 60) == bucket_ns


def test_a_heartbeat_gives_one_row_a_binding() -> None:
    """Totals, the percentile and the outbox are taken as they are."""
    assert totals(PRESS, beat(REPORT, replace(REPORT, binding="b")), 60) == (ROW, replace(ROW, binding="b"))


@pytest.mark.parametrize(
    "report",
    [
        replace(REPORT, binding=""),
        replace(REPORT, binding="x" * 65),
        replace(REPORT, binding="a\x00"),
        replace(REPORT, decided=2**63),
        replace(REPORT, escalated=2**63),
        replace(REPORT, answered=2**64 - 1),
    ],
)
def test_what_the_tables_cannot_hold_is_left_out(report: BindingReport) -> None:
    """A peer's absurd names and numbers cost it its own curve, nothing else."""
    assert totals(PRESS, beat(report, REPORT), 60) == (ROW,)


def test_a_heartbeat_gives_a_bounded_number_of_rows() -> None:
    """A name that comes twice counts once, with its last values; the outbox's number is capped."""
    many = [replace(REPORT, binding=f"b{n}") for n in range(MAX_BINDINGS + 9)]
    assert len(totals(PRESS, beat(*many), 60)) == MAX_BINDINGS
    (row,) = totals(PRESS, beat(REPORT, replace(REPORT, decided=11), outbox_items=2**64 - 1), 60)
    assert (row.decided, row.outbox_items) == (11, 2**63 - 1)


def test_points_are_what_happened_since_the_bucket_before() -> None:
    """The first bucket has nothing to count from; after a gap the span says what the counts cover."""
    rows = [ROW, replace(ROW, bucket_ns=120, decided=15, escalated=5), replace(ROW, bucket_ns=300, decided=25)]
    first, second = increments([*rows[:2], replace(rows[2], escalated=5, answered=8, p95_ms=None)], 0)
    assert (first.bucket_ns, first.span_ns, first.decided, first.escalated, first.answered) == (120, 60, 5, 1, 0)
    assert (second.bucket_ns, second.span_ns, second.decided, second.escalated, second.answered) == (300, 180, 10, 0, 5)
    assert (first.p95_ms, second.p95_ms, second.outbox_items) == (2.5, None, 7)


@pytest.mark.parametrize("fewer", ["decided", "escalated", "answered"])
def test_a_total_that_goes_back_counts_from_zero(fewer: str) -> None:
    """A device with a new store begins anew with all of its counters."""
    changed = {"decided": 11, "escalated": 5, "answered": 4, fewer: 2}
    after = TrendTotals(PRESS, "band", 120, changed["decided"], changed["escalated"], changed["answered"], 2.5, 7)
    (point,) = increments([ROW, after], 0)
    assert (point.decided, point.escalated, point.answered) == (after.decided, after.escalated, after.answered)


def test_a_new_device_counts_from_nothing() -> None:
    """Its first bucket is told when it was enrolled just before or in it; of an older one nothing is known before."""
    (point,) = increments([ROW], 0, {PRESS: 40})
    assert (point.bucket_ns, point.span_ns, point.decided, point.escalated, point.answered) == (60, 20, 10, 4, 3)
    assert increments([ROW], 0, {PRESS: 90})[0].span_ns == 0
    assert increments([ROW], 61, {PRESS: 40}) == ()
    assert increments([ROW], 0, {PRESS: 60 - BEGINNING_NS - 1}) == ()
    assert increments([ROW], 0, {PRESS: 61 + BEGINNING_NS}) == ()


def test_rows_before_the_window_are_only_counted_from() -> None:
    """The first point told may count from a bucket that is not."""
    rows = [ROW, replace(ROW, bucket_ns=120, decided=11), replace(ROW, bucket_ns=180, decided=13)]
    assert [(point.bucket_ns, point.decided) for point in increments(rows, 180)] == [(180, 2)]


def test_each_device_and_binding_is_a_series_of_its_own() -> None:
    """Rows of others in between change nothing."""
    other = replace(ROW, device=DeviceKey("o", "s", "saw"), bucket_ns=120, decided=1)
    points = increments([ROW, other, replace(ROW, binding="b"), replace(ROW, bucket_ns=120, decided=12)], 0)
    assert [(point.device, point.decided) for point in points] == [(PRESS, 2)]


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30))
def test_increments_add_up_to_the_totals(steps: list[int]) -> None:
    """Whichever buckets exist, nothing that was counted after the first is lost or doubled."""
    totals_so_far = [sum(steps[: n + 1]) for n in range(len(steps))]
    rows = [replace(ROW, bucket_ns=60 * n, decided=total) for n, total in enumerate(totals_so_far)]
    assert sum(point.decided for point in increments(rows, 0)) == totals_so_far[-1] - totals_so_far[0]
