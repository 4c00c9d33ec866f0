"""Answers to local calls: how a verdict changes them, and their figures."""

from edge_agent.core.local_call import LATENCY_BUCKETS_S, CalledRow, CallFigures, is_open, revised_row

ROW = CalledRow("id", "provisional", 0.4, "idle", "low_confidence", "edge")


def test_a_revised_row_says_what_the_event_says() -> None:
    """Status, confidence, label and tier are the event's; id and reason stay."""
    event = {"status": "revised", "confidence": 0.9, "output": {"label": "moving"}, "tier": "human"}
    assert revised_row(ROW, event) == CalledRow("id", "revised", 0.9, "moving", "low_confidence", "human")


def test_an_event_without_a_label_leaves_none() -> None:
    """A verdict without an answer, or of another task, has no label."""
    event = {"status": "revised", "confidence": 0.0, "output": None, "tier": "hub"}
    assert revised_row(ROW, event).label is None
    assert revised_row(ROW, {**event, "output": {"value": 3.0}}).label is None


def test_only_a_provisional_answer_is_open() -> None:
    """Whoever has a final one hears no more."""
    assert is_open(ROW)
    assert not is_open(ROW._replace(status="final"))


def test_a_copy_of_figures_changes_no_more() -> None:
    """Buckets, too."""
    figures = CallFigures()
    copy = figures.copy()
    figures.calls += 1
    figures.by_bucket[0] += 1
    assert (copy.calls, sum(copy.by_bucket), len(copy.by_bucket)) == (0, 0, len(LATENCY_BUCKETS_S) + 1)
