"""Owns what is sent and what is owed for it: deterministic messages, and an obligation for each that was acknowledged.

A message is named by its machine and its second of event time; its content follows from the seed and that name alone,
so that whoever holds an answer can tell whether it is the answer to what was sent. What becomes of obligations is
`ledger.py`.
"""

import json
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import paho.mqtt.client as paho
from numpy.typing import NDArray
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.simulators.brokers import Broker
from tests.simulators.packs import CHANNELS, SAMPLES
from tests.simulators.waiting import wait_until

START_S = 1_750_000_000
DEADLINE_S = 60.0

_NS_PER_S = 1_000_000_000
_IN_FLIGHT = 100


@dataclass(frozen=True, slots=True, order=True)
class Sent:
    """The name of one message, and so of the one window that it fills."""

    machine: str
    second: int

    @property
    def start_ns(self) -> int:
        """Inclusive start of the window."""
        return self.second * _NS_PER_S


class Oracle:
    """A sensor of many machines that knows what it is owed.

    Args:
        broker: Where it publishes.
        device: Whose topics it uses.
        seed: Decides every value.
        machines: Streams, one partition each.
    """

    def __init__(self, broker: Broker, device: str, seed: int, machines: Sequence[str] = ("m1", "m2")) -> None:
        self._host, self._port = broker.host, broker.port
        self._device = device
        self._seed = seed
        self._machines = tuple(machines)
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"oracle-{device}", clean_session=False)
        self._client.max_inflight_messages_set(_IN_FLIGHT)
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client.on_publish = self._on_publish
        self._lock = threading.Lock()
        self._next_s = dict.fromkeys(self._machines, START_S)
        self._turn = 0
        self._waiting: dict[int, Sent | None] = {}
        self._early: set[int] = set()
        self._acked: set[Sent] = set()
        self._sent: set[Sent] = set()
        self._poison_acked = 0

    def open(self) -> None:
        """Connect; later it reconnects by itself, and sends again what was not acknowledged."""
        self._client.connect(self._host, self._port)
        self._client.loop_start()
        wait_until(self._client.is_connected, DEADLINE_S, "the oracle on its broker")

    def close(self) -> None:
        """Disconnect; may be called twice."""
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def acked(self) -> frozenset[Sent]:
        """What the broker has acknowledged: each is owed one answer."""
        with self._lock:
            return frozenset(self._acked)

    @property
    def sent(self) -> frozenset[Sent]:
        """Everything that was ever sent: an answer to anything else is made up."""
        with self._lock:
            return frozenset(self._sent)

    @property
    def poison_acked(self) -> int:
        """How many messages of `send_poison` the broker has acknowledged."""
        with self._lock:
            return self._poison_acked

    def send(self, count: int) -> list[Sent]:
        """Hand over the next messages, the machines in turn; returns which, before they are acknowledged."""
        handed: list[Sent] = []
        for _ in range(count):
            machine = self._machines[self._turn % len(self._machines)]
            self._turn += 1
            second = self._next_s[machine]
            self._next_s[machine] = second + 1
            handed.append(Sent(machine, second))
            self._publish(machine, self.payload(handed[-1]), handed[-1])
        return handed

    def send_again(self, sent: Sent) -> None:
        """Hand over a message once more, as a sensor does that did not hear of it."""
        self._publish(sent.machine, self.payload(sent), sent)

    def send_poison(self, payload: bytes) -> None:
        """Hand over bytes that are no message."""
        self._publish(self._machines[0], payload, None)

    @contextmanager
    def streaming(self, rate_hz: float) -> Iterator[None]:
        """Send at a steady rate for the time of a block."""
        done = threading.Event()

        def stream() -> None:
            while not done.wait(1 / rate_hz):
                self.send(1)

        thread = threading.Thread(target=stream, name="oracle")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def settle(self) -> None:
        """Wait until everything that was handed over is acknowledged."""

        def settled() -> bool:
            with self._lock:
                return not self._waiting

        wait_until(settled, DEADLINE_S, "the broker's acknowledgement of every message")

    def samples(self, sent: Sent) -> list[list[float]]:
        """What a message says."""
        chance = np.random.default_rng([self._seed, zlib.crc32(sent.machine.encode()), sent.second])
        samples: list[list[float]] = chance.normal(size=(SAMPLES, CHANNELS)).round(3).tolist()
        return samples

    def window(self, sent: Sent) -> NDArray[np.float32]:
        """What the model is given for it: FP32 [samples, channels]."""
        return np.array(self.samples(sent), dtype=np.float32)

    def payload(self, sent: Sent) -> bytes:
        """The message itself."""
        start = datetime.fromtimestamp(sent.second, UTC).isoformat().replace("+00:00", "Z")
        return json.dumps({"t0": start, "seq": sent.second, "samples": self.samples(sent)}).encode()

    def _publish(self, machine: str, payload: bytes, sent: Sent | None) -> None:
        if sent is not None:
            with self._lock:
                self._sent.add(sent)
        info = self._client.publish(f"plant/{self._device}/{machine}/raw", payload, qos=1)
        if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            raise AssertionError(f"paho refused a message: {info.rc}")
        with self._lock:
            if info.mid in self._early:
                self._early.remove(info.mid)
                self._note(sent)
            else:
                self._waiting[info.mid] = sent

    def _on_publish(
        self, client: paho.Client, userdata: object, mid: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        del client, userdata, properties
        if reason.is_failure:
            raise AssertionError(f"the broker refused a message: {reason}")
        with self._lock:
            if mid in self._waiting:
                self._note(self._waiting.pop(mid))
            else:
                self._early.add(mid)  # its PUBACK overtook the return of publish()

    def _note(self, sent: Sent | None) -> None:
        if sent is None:
            self._poison_acked += 1
        else:
            self._acked.add(sent)
