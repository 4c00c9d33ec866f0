"""Owns the site's own subscriber: keeps what it heard of each prediction, over any number of the broker's restarts."""

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.simulators.brokers import Broker
from tests.simulators.waiting import wait_until

_DEADLINE_S = 30.0


@dataclass(slots=True)
class Heard:
    """What came about one prediction.

    Attributes:
        partition: From the topic.
        start: Of its window, as the events write it.
        outputs: By revision, every output that was said, after the packs that said it and a space; two of the same
            packs are a contradiction. After a crash another pack may answer what comes again.
        latencies_ms: Of revision 0.
        revised_s: When the first revision came, on the monotonic clock.
    """

    partition: str
    start: str
    outputs: dict[int, set[str]] = field(default_factory=dict)
    latencies_ms: list[float] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    revised_s: float | None = None

    @property
    def revision(self) -> int:
        """The highest that was heard."""
        return max(self.outputs)


class Listener:
    """A subscriber with a session of its own at the broker.

    Args:
        broker: Where it listens.
        device: Whose answers.
    """

    def __init__(self, broker: Broker, device: str) -> None:
        self._host, self._port = broker.host, broker.port
        self._filter = f"plant/{device}/+/inference"
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"listener-{device}", clean_session=False)
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client.on_message = self._on_message
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        self._subscribed = threading.Event()
        self._lock = threading.Lock()
        self._heard: dict[str, Heard] = {}
        self.messages = 0

    def open(self) -> None:
        """Connect and subscribe."""
        self._client.connect(self._host, self._port)
        self._client.loop_start()
        wait_until(self._subscribed.is_set, _DEADLINE_S, "the listener's subscription")

    def close(self) -> None:
        """Disconnect; may be called twice."""
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def is_listening(self) -> bool:
        """Whether the broker has it: what was kept for it while it was away comes then."""
        return self._subscribed.is_set()

    def heard(self) -> dict[str, Heard]:
        """By prediction id."""
        with self._lock:
            return dict(self._heard)

    def count(self, revision: int) -> int:
        """How many predictions were heard of in this revision or a later one."""
        with self._lock:
            return sum(one.revision >= revision for one in self._heard.values())

    def _on_connect(
        self, client: paho.Client, userdata: object, flags: object, reason: ReasonCode, props: Properties | None
    ) -> None:
        del userdata, flags, reason, props
        client.subscribe(self._filter, qos=1)

    def _on_disconnect(self, *_facts: object) -> None:
        self._subscribed.clear()

    def _on_subscribe(
        self, client: paho.Client, userdata: object, mid: int, reasons: list[ReasonCode], props: Properties | None
    ) -> None:
        del client, userdata, mid, reasons, props
        self._subscribed.set()

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        del client, userdata
        event = json.loads(message.payload)
        with self._lock:
            self.messages += 1
            new = Heard(message.topic.split("/")[2], event["window"]["start"])
            one = self._heard.setdefault(event["id"], new)
            packs = "+".join(model["pack"] for model in event["models"])
            said = f"{packs} {json.dumps(event['output'], sort_keys=True)}"
            one.outputs.setdefault(event["revision"], set()).add(said)
            one.last = event
            if event["revision"] > 0 and one.revised_s is None:
                one.revised_s = time.monotonic()
            if event["revision"] == 0:
                one.latencies_ms.append(event["latency_ms"])
