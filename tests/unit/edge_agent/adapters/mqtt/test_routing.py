"""From a topic to the one binding that it belongs to."""

import pytest

from edge_agent.adapters.mqtt.routing import Routes, Source
from edge_agent.errors import ConfigurationError
from edge_agent.ports import BindingName
from protos.topics import TopicTemplate


def source(topic: str, binding: str) -> Source:
    """A source of `binding`."""
    return Source(BindingName(binding), TopicTemplate(topic))


def test_a_topic_finds_its_source() -> None:
    """Captures stand for exactly one level."""
    routes = Routes([source("demo/{person}/imu", "motion"), source("line/{machine}/vib/{axis}", "press")])
    found = routes.find("line/7/vib/x")
    assert found is not None
    assert found.binding == "press"
    assert routes.find("demo/anna/gps") is None
    assert routes.find("demo/anna/imu/raw") is None


def test_filters_are_the_templates_with_wildcards() -> None:
    """What is subscribed to."""
    assert Routes([source("demo/{person}/imu", "motion")]).filters == {"demo/+/imu"}


@pytest.mark.parametrize("other", ["demo/{who}/imu", "demo/anna/imu", "{site}/anna/{kind}"])
def test_two_sources_that_match_one_topic_are_refused(other: str) -> None:
    """Both templates and both bindings are named."""
    with pytest.raises(ConfigurationError) as failure:
        Routes([source("demo/{person}/imu", "motion"), source(other, "second")])
    assert "demo/{person}/imu" in failure.value.message
    assert other in failure.value.message
    assert "'second'" in failure.value.message


def test_every_clash_is_named_at_once() -> None:
    """Three sources on one topic are three clashes."""
    with pytest.raises(ConfigurationError) as failure:
        Routes([source("a/{x}", "one"), source("a/{y}", "two"), source("a/b", "three")])
    assert len(failure.value.problems) == 3


def test_sources_that_differ_in_one_level_stand_side_by_side() -> None:
    """No topic matches both."""
    assert len(Routes([source("demo/{person}/imu", "motion"), source("demo/{person}/gps", "place")]).sources) == 2
