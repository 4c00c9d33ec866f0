"""Series are regular; a gap is where nothing is known."""

from dataclasses import replace

from cloud_hub.core.cases import CaseCount
from cloud_hub.core.console.charts import (
    DEFAULT_RANGE,
    RANGES,
    escalation_share,
    escalations,
    latency,
    range_of,
    since_ns,
    unsent,
)
from protos.messages.escalation import Reason
from tests.unit.cloud_hub.core.console.fleets import NOW_NS, S, count, point

HOUR = range_of("1h")


def test_a_range_is_looked_up_by_its_key() -> None:
    """An unknown one is the default; each divides into whole buckets that end with the present one."""
    assert range_of("nonsense") is DEFAULT_RANGE
    for span in RANGES:
        assert range_of(span.key) is span
        assert span.span_s % span.bucket_s == 0
        first_ns = since_ns(span, NOW_NS)
        assert first_ns % (span.bucket_s * S) == 0
        assert first_ns + (span.span_s - span.bucket_s) * S <= NOW_NS < first_ns + span.span_s * S


def test_escalations_stack_by_reason_and_their_disagreement_is_a_line() -> None:
    """A minute is the unit; reasons that never occur are not there; what is too old is left out."""
    counts = [
        count(cases=6, disagreed=2),
        count("d2", cases=3, disagreed=0),
        count(at_s=60, reason=Reason.UNSCORABLE, cases=5, disagreed=5),
        count(at_s=9_000),
    ]
    chart = escalations(counts, HOUR, NOW_NS)
    assert [line.name for line in chart.stack] == ["not sure", "could not be scored"]
    assert (chart.stack[0].values[-1], chart.stack[1].values[-2]) == (9.0, 5.0)
    assert (chart.lines[0].values[-2:], sum(chart.stack[0].values[:-1])) == ((5.0, 2.0), 0.0)  # type: ignore[arg-type]
    assert not chart.is_empty
    assert escalations([], HOUR, NOW_NS).is_empty
    assert not escalations([], HOUR, NOW_NS).is_unknown
    assert latency([point(p95_ms=None)], HOUR, NOW_NS).is_unknown


def test_longer_buckets_are_still_told_by_the_minute() -> None:
    """Ten windows in five minutes are two a minute."""
    one = CaseCount(NOW_NS, point().device, "wrist", Reason.AUDIT, 10, 10, 5)
    chart = escalations([one], range_of("6h"), NOW_NS)
    assert (chart.stack[0].values[-1], chart.lines[0].values[-1]) == (2.0, 1.0)


def test_a_share_has_a_line_a_binding_and_gaps_in_silence() -> None:
    """A bucket without a report is not zero."""
    chart = escalation_share([point(), point(of="forms", at_s=120, escalated=50)], HOUR, NOW_NS)
    assert [line.name for line in chart.lines] == ["forms", "wrist"]
    assert chart.lines[1].values[-3:] == (None, None, 10.0)
    assert chart.lines[0].values[-3] == 50.0
    assert escalation_share([point(decided=0, escalated=0)], HOUR, NOW_NS).lines[0].values[-1] is None


def test_a_point_speaks_for_the_time_since_the_one_before() -> None:
    """Buckets shorter than the reports are filled; a long silence stays a gap."""
    fine = latency([point(span_s=120)], HOUR, NOW_NS)
    assert fine.lines[0].values[-3:] == (None, 3.0, 3.0)
    after_silence = latency([point(span_s=1200)], HOUR, NOW_NS)
    assert after_silence.lines[0].values[-2:] == (None, 3.0)
    assert latency([point(span_s=0)], HOUR, NOW_NS).lines[0].values[-1] == 3.0


def test_the_highest_of_a_bucket_counts() -> None:
    """A p95 cannot be averaged; an outbox is the device's, not the binding's."""
    six = range_of("6h")
    points = [point(p95_ms=2.0), point(p95_ms=7.0), replace(point(p95_ms=None))]
    assert latency(points, six, NOW_NS).lines[0].values[-1] == 7.0
    assert latency([point(p95_ms=None)], six, NOW_NS).lines[0].values[-1] is None
    outbox = unsent([point(outbox_items=4), point(of="forms", outbox_items=4)], six, NOW_NS)
    assert (outbox.lines[0].values[-1], outbox.lines[0].values[0]) == (4, None)
