"""Topic templates filter, match and render the same set of topics."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.topics import TopicError, TopicTemplate

LEVEL = st.text(alphabet=st.characters(exclude_characters="/+#\0{}", codec="utf-8"), min_size=1, max_size=10)


@given(LEVEL, LEVEL)
def test_what_was_rendered_matches_with_the_same_values(line: str, machine: str) -> None:
    """match() undoes render()."""
    template = TopicTemplate("acme/{line}/{machine}/imu")
    values = {"line": line, "machine": machine}
    assert template.match(template.render(values)) == values


def test_the_filter_has_a_plus_for_each_capture() -> None:
    """The broker sees plain MQTT."""
    assert TopicTemplate("acme/{line}/imu").filter == "acme/+/imu"


@pytest.mark.parametrize("topic", ["acme/a/b/imu", "acme/imu", "acme/a/temp", "other/a/imu"])
def test_other_topics_do_not_match(topic: str) -> None:
    """A capture is exactly one level."""
    assert TopicTemplate("acme/{line}/imu").match(topic) is None


@pytest.mark.parametrize("text", ["", "/acme", "acme/+", "acme/#", "acme/{a}/{a}", "acme/x{a}", "a/" * 200, "a/\0"])
def test_bad_templates_are_refused(text: str) -> None:
    """What MQTT or a reader could misread is an error when it is written."""
    with pytest.raises(TopicError):
        TopicTemplate(text)


@pytest.mark.parametrize("value", ["", "a/b", "+", "#", "\0"])
def test_a_value_cannot_break_out_of_its_level(value: str) -> None:
    """A captured value never becomes a wildcard or a further level."""
    with pytest.raises(TopicError):
        TopicTemplate("acme/{line}").render({"line": value})


def test_a_missing_value_is_named() -> None:
    """The error says which capture has no value."""
    with pytest.raises(TopicError, match=r"\{line\}"):
        TopicTemplate("acme/{line}").render({})
