"""Which templates can match one topic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.topics import overlap
from protos.topics import TopicTemplate


@pytest.mark.parametrize(
    ("one", "other", "meets"),
    [
        ("a/b", "a/b", True),
        ("a/{x}", "a/b", True),
        ("a/{x}", "{y}/b", True),
        ("a/{x}", "a/{x}/b", False),
        ("a/{x}/c", "a/{x}/d", False),
    ],
)
def test_templates_meet(one: str, other: str, *, meets: bool) -> None:
    """Level by level, in both directions."""
    assert overlap(TopicTemplate(one), TopicTemplate(other)) == meets
    assert overlap(TopicTemplate(other), TopicTemplate(one)) == meets


LEVELS = st.lists(st.sampled_from(["a", "b", "{x}"]), min_size=1, max_size=3).filter(lambda ls: ls.count("{x}") <= 1)


@given(LEVELS, LEVELS, st.lists(st.sampled_from("abc"), min_size=1, max_size=3))
def test_templates_that_match_one_topic_meet(one: list[str], other: list[str], topic: list[str]) -> None:
    """No common topic is missed."""
    first, second, text = TopicTemplate("/".join(one)), TopicTemplate("/".join(other)), "/".join(topic)
    if first.match(text) is not None and second.match(text) is not None:
        assert overlap(first, second)
