"""Owns the watches: what they send, when, and that each message reaches the broker.

`schedule` is pure: recordings and an origin in, timed messages out. `Sensors` sends a schedule at QoS 1, at its pace,
with few messages on their way at once. What comes back is the judge's business; no message says what the person did.
"""

import heapq
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import paho.mqtt.client as paho
from numpy.typing import NDArray
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from deploy.demo.fleet import Member, Person, WindowKey, person
from deploy.demo.sockets import send_at_once
from model_packs.shipped.motion_band import split
from model_packs.shipped.motion_band.dataset import RATE_HZ, Recording

NS_PER_S: Final = 1_000_000_000
MESSAGE_ROWS: Final = 10
WINDOW_S: Final = split.WINDOW_ROWS // RATE_HZ
WINDOW_NS: Final = WINDOW_S * NS_PER_S
_MESSAGE_NS: Final = MESSAGE_ROWS * NS_PER_S // RATE_HZ
_MAX_UNACKED: Final = 50
_CONNECT_DEADLINE_S: Final = 15.0


class SensorError(Exception):
    """The watches cannot reach the broker; the message names the address."""


@dataclass(frozen=True, slots=True)
class Track:
    """One person's watch: recordings that follow each other without a pause.

    Attributes:
        recordings: In the order in which they are sent.
        lag_ns: How long after its last sample a message leaves, so that not all watches send at once; below one second.
    """

    member: Member
    person: Person
    recordings: tuple[Recording, ...]
    lag_ns: int

    @property
    def windows(self) -> int:
        """Windows that its samples fill."""
        return sum(len(split.field_windows(recording)) for recording in self.recordings)


@dataclass(frozen=True, slots=True)
class Message:
    """What one watch sends at once.

    Attributes:
        start_ns: Event time of the first sample.
        due_ns: Event time at which the message leaves the watch.
        samples: float32 [rows, channels], a view into the recording.
        closes: The window that is full with this message, if any.
    """

    topic: str
    seq: int
    start_ns: int
    due_ns: int
    samples: NDArray[np.float32]
    closes: WindowKey | None

    def payload(self) -> bytes:
        """The JSON that travels; numbers are written so that reading them gives the same float32."""
        body = {"t0": iso8601(self.start_ns), "seq": self.seq, "samples": self.samples.astype(float).tolist()}
        return json.dumps(body, separators=(",", ":")).encode()


def iso8601(time_ns: int) -> str:
    """A time in UTC with milliseconds (event times here are whole milliseconds)."""
    seconds, rest_ns = divmod(time_ns, NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest_ns // 1_000_000:03d}Z"


def tracks(recordings: Iterable[Recording], fleet: Sequence[Member]) -> tuple[Track, ...]:
    """Give each person of each agent a watch.

    Args:
        recordings: All recordings.
        fleet: The agents.

    Returns:
        One track a person and agent; the lags of an agent's watches are spread evenly over a window's length.
    """
    found = list(recordings)
    made = []
    for member in fleet:
        for place, subject in enumerate(member.subjects):
            mine = tuple(r for r in found if r.wrist is member.wrist and r.subject == subject)
            lag_ns = WINDOW_NS * place // len(member.subjects)
            made.append(Track(member, person(subject), mine, lag_ns))
    return tuple(made)


def length_s(watches: Iterable[Track]) -> float:
    """Event time that the longest track takes, with its lag, in seconds."""
    return max(track.windows * WINDOW_S + track.lag_ns / NS_PER_S for track in watches)


def origin_ns(now_ns: int, stream_s: float, speed: float) -> int:
    """The event time at which all tracks start, so that event time reaches the present at the end and never passes it.

    A replay that takes `wall_s = stream_s / speed` seconds covers `speed * wall_s` seconds of event time, so it starts
    at `now - (speed - 1) * wall_s`.

    Args:
        now_ns: The present, Unix epoch.
        stream_s: Length in event time.
        speed: Event seconds a second; 1 or more.

    Returns:
        A whole second, Unix epoch, in nanoseconds: windows lie on that grid.
    """
    early_s = (speed - 1) * stream_s / speed
    return (now_ns - round(early_s * NS_PER_S)) // NS_PER_S * NS_PER_S


def schedule(watches: Iterable[Track], start_ns: int) -> Iterator[Message]:
    """All messages in the order in which they leave.

    Args:
        watches: The tracks.
        start_ns: Event time of the first sample of every track; a whole second.

    Yields:
        The messages, by due time. `seq` counts up within an agent and person.
    """
    yield from heapq.merge(*(_track_messages(track, start_ns) for track in watches), key=lambda message: message.due_ns)


def window_keys(watches: Iterable[Track], start_ns: int) -> Iterator[tuple[WindowKey, Recording, int]]:
    """Every window that a schedule fills: its key, its recording, and its place among the recording's field windows."""
    for track in watches:
        at_ns = start_ns
        for recording in track.recordings:
            for place in range(len(split.field_windows(recording))):
                yield WindowKey(track.member.name, track.person, at_ns), recording, place
                at_ns += WINDOW_NS


def _track_messages(track: Track, start_ns: int) -> Iterator[Message]:
    topic = track.member.source.render({"person": track.person})
    at_ns = start_ns
    seq = 0
    for recording in track.recordings:
        rows = split.field_samples(recording)
        for first in range(0, len(rows), MESSAGE_ROWS):
            end_ns = at_ns + _MESSAGE_NS
            is_full = (end_ns - start_ns) % WINDOW_NS == 0
            closes = WindowKey(track.member.name, track.person, end_ns - WINDOW_NS) if is_full else None
            yield Message(topic, seq, at_ns, end_ns + track.lag_ns, rows[first : first + MESSAGE_ROWS], closes)
            at_ns = end_ns
            seq += 1


class Sensors:
    """Sends a schedule to a broker from a thread of its own, QoS 1.

    A message counts as sent when the broker has acknowledged it. What is on its way when the connection breaks is sent
    again by paho on the next connection.

    Args:
        address: Host and port of the broker.
        messages: In the order of their due times.
        start_ns: Event time that stands for the moment of `start`.
        speed: Event seconds a second.
        clock: Monotonic seconds.
        on_window: Told the key and the time when the last message of a window is handed over.
    """

    def __init__(
        self,
        address: tuple[str, int],
        messages: Iterable[Message],
        *,
        start_ns: int,
        speed: float,
        clock: Callable[[], float],
        on_window: Callable[[WindowKey, float], None],
    ) -> None:
        self._address = address
        self._messages = messages
        self._start_ns = start_ns
        self._speed = speed
        self._clock = clock
        self._on_window = on_window
        self._stop = threading.Event()
        self._connected = threading.Event()
        self._free = threading.Semaphore(_MAX_UNACKED)
        self._acked = 0
        self._handed_over = 0
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sensors", daemon=True)
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, "demo-sensors", clean_session=False, protocol=MQTTProtocolVersion.MQTTv311
        )
        send_at_once(self._client)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish

    def open(self) -> None:
        """Connect and start sending.

        Raises:
            SensorError: The broker did not answer in time.
        """
        self._client.reconnect_delay_set(min_delay=1, max_delay=2)
        self._client.max_inflight_messages_set(_MAX_UNACKED)
        self._client.connect_async(*self._address)
        self._client.loop_start()
        if not self._connected.wait(_CONNECT_DEADLINE_S):
            host, port = self._address
            raise SensorError(f"no MQTT broker answered on {host}:{port} within {_CONNECT_DEADLINE_S:.0f} s")
        self._thread.start()

    def close(self) -> None:
        """Stop sending and disconnect; may be called twice."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def is_done(self) -> bool:
        """Whether every message of the schedule was acknowledged by the broker."""
        return self._has_ended.is_set() and self._acked >= self._handed_over

    @property
    def acked(self) -> int:
        """Messages that the broker has acknowledged."""
        return self._acked

    def _run(self) -> None:
        began_s = self._clock()
        for message in self._messages:
            due_s = began_s + (message.due_ns - self._start_ns) / NS_PER_S / self._speed
            if self._stop.wait(max(0.0, due_s - self._clock())):
                return
            while not self._free.acquire(timeout=0.5):
                if self._stop.is_set():
                    return
            if message.closes is not None:
                self._on_window(message.closes, self._clock())
            self._handed_over += 1
            self._client.publish(message.topic, message.payload(), qos=1)
        self._has_ended.set()

    def _on_connect(self, *_facts: object) -> None:
        self._connected.set()

    def _on_publish(self, *_facts: object) -> None:
        self._acked += 1
        self._free.release()
