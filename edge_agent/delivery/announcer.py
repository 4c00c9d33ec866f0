"""Owns what the agent says on topics of its own: its status now and then, and each dead letter, for people to watch.

Both at QoS 0 and not retained: they are news, not records. The retained `online`/`offline`/`stopped` belongs to the
broker's connection; the records are the store's.
"""

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.core.timestamps import to_text
from edge_agent.ports import BindingName, Broker, Clock, DeadLetter, Publish, RowId, Unit

STATS_EVERY_S = 30.0
DEAD_SCHEMA = "edge.dead/1"

_NO_ROW = RowId(0)
_WAIT_S = 1.0
_KEPT = 100


@dataclass(frozen=True, slots=True)
class OwnTopics:
    """Where one broker hears from the agent."""

    stats: str
    dead: str

    @classmethod
    def beside(cls, status_topic: str) -> "OwnTopics":
        """Beside the retained status: `edge/press-07/status` makes `edge/press-07/stats` and `edge/press-07/dead`."""
        stem = status_topic.rpartition("/")[0]
        return cls(*(f"{stem}/{last}" if stem else last for last in ("stats", "dead")))


class Announcer:
    """`run_once` is its loop's body; `passed` may be called from any thread and never waits.

    Args:
        device: Device id.
        clock: For the pace.
        document: The status.
        brokers: By name.
        topics: By broker.
        broker_of: The broker of a binding, for its dead letters.
    """

    def __init__(
        self,
        device: str,
        clock: Clock,
        document: Callable[[], Mapping[str, Any]],
        *,
        brokers: Mapping[str, Broker],
        topics: Mapping[str, OwnTopics],
        broker_of: Mapping[BindingName, str],
    ) -> None:
        self._device = device
        self._clock = clock
        self._document = document
        self._brokers = brokers
        self._topics = topics
        self._broker_of = broker_of
        self._changed = threading.Condition()
        self._dead: deque[DeadLetter] = deque(maxlen=_KEPT)  # beyond it the store's rows tell
        self._due_s = clock.monotonic_s()

    def passed(self, unit: Unit, took_s: float) -> None:
        """Note the dead letters of a pass."""
        del took_s
        if unit.dead_letters:
            self.died(unit.dead_letters)

    def died(self, letters: Sequence[DeadLetter]) -> None:
        """Note dead letters that only the store could tell."""
        with self._changed:
            self._dead.extend(letters)
            self._changed.notify_all()

    def run_once(self) -> None:
        """Wait for a dead letter, or for a second; say what is due."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._dead), _WAIT_S)
            letters = list(self._dead)
            self._dead.clear()
        for letter in letters:
            # The device's own (feedback) are told wherever somebody may have sent them.
            own = self._broker_of.get(letter.binding)
            for name in self._topics if own is None else (own,):
                self._say(name, self._topics[name].dead, self._dead_json(letter))
        if self._clock.monotonic_s() >= self._due_s:
            self._due_s = self._clock.monotonic_s() + STATS_EVERY_S
            document = self._document()
            for name, topics in self._topics.items():
                self._say(name, topics.stats, document)

    def _say(self, broker: str, topic: str, document: Mapping[str, Any]) -> None:
        payload = json.dumps(document, separators=(",", ":")).encode()
        self._brokers[broker].publish([Publish(_NO_ROW, broker, topic, payload, qos=0)])

    def _dead_json(self, letter: DeadLetter) -> dict[str, Any]:
        return {
            "schema": DEAD_SCHEMA,
            "device": self._device,
            "binding": letter.binding or None,
            "topic": letter.topic,
            "reason": letter.reason,
            "detail": letter.detail,
            "received": to_text(letter.received_ns),
            "bytes": len(letter.payload),
        }
