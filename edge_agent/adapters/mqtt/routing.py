"""Owns the way from a topic to the one binding that it belongs to. Pure: no connection, no clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from edge_agent.core.topics import overlap
from edge_agent.errors import ConfigurationError
from edge_agent.ports import BindingName
from protos.topics import TopicTemplate

_MAX_KNOWN_TOPICS = 4096


@dataclass(frozen=True, slots=True)
class Source:
    """One topic template that feeds one binding.

    Attributes:
        qos: What to subscribe with: 0 or 1 (2 is asked for as 1; duplicates are found by key).
        takes_retained: Whether a retained message is a reading; by default it is an old value and is passed over.
    """

    binding: BindingName
    template: TopicTemplate
    qos: int = 1
    takes_retained: bool = False


class Routes:
    """Finds the source of a topic.

    Args:
        sources: Every source on one broker.

    Raises:
        ConfigurationError: A topic could match two of them; every such pair is named.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        clashes = tuple(
            f"topic {one.template.text!r} of binding {one.binding!r} and topic {other.template.text!r} of binding "
            f"{other.binding!r} match the same messages"
            for one, other in combinations(sources, 2)
            if overlap(one.template, other.template)
        )
        if clashes:
            raise ConfigurationError(clashes, "make the topics differ in one level, or let one binding own the topic")
        self.sources = tuple(sources)
        self._known: dict[str, Source | None] = {}

    @property
    def filters(self) -> frozenset[str]:
        """The topic filters to subscribe to."""
        return frozenset(source.template.filter for source in self.sources)

    def find(self, topic: str) -> Source | None:
        """The source that `topic` belongs to, or None."""
        if topic not in self._known:
            if len(self._known) >= _MAX_KNOWN_TOPICS:
                self._known.clear()
            self._known[topic] = next((s for s in self.sources if s.template.match(topic) is not None), None)
        return self._known[topic]
