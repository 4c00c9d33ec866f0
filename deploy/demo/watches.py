"""Owns what the watches send, and when, as a pure plan without an end: laps over each person's recordings.

What a watch shows in its first lap is the certified comparison, if its wrist is certified. Later laps keep the agents
busy while packs change under them. Sending is `sensors`' business.
"""

import heapq
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from deploy.demo.fleet import Source, Wearers, WindowKey, person
from deploy.demo.questions import Asked, Question
from deploy.demo.sensors import NS_PER_S
from model_packs.shipped.motion_band import split
from model_packs.shipped.motion_band.dataset import RATE_HZ, Recording

MESSAGE_ROWS: Final = 10
WINDOW_S: Final = split.WINDOW_ROWS // RATE_HZ
WINDOW_NS: Final = WINDOW_S * NS_PER_S
PRELUDE_WINDOWS: Final = 12
_MESSAGES: Final = split.WINDOW_ROWS // MESSAGE_ROWS
_MESSAGE_NS: Final = WINDOW_NS // _MESSAGES

RecordingIndex = int
Questions = Mapping[tuple[RecordingIndex, int], Question]
"""By recording and place among the recording's field windows."""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One window that a watch shows.

    Attributes:
        samples: float32 [rows, channels], a view into the recording.
    """

    samples: NDArray[np.float32] = field(compare=False)
    question: Question


@dataclass(frozen=True, slots=True)
class Track:
    """One person's watch: windows that follow each other without a pause, again and again.

    Attributes:
        prelude: Shown once, before everything else: the wrist on which it is worn at first.
        lap: Shown in a circle after it.
        lag_ns: How long after its last sample a message leaves, so that not all watches send at once; below one second.
    """

    member: Wearers
    source: Source
    prelude: tuple[Exhibit, ...]
    lap: tuple[Exhibit, ...]
    lag_ns: int

    def showings(self) -> Iterator[tuple[Exhibit, bool]]:
        """Everything that it shows, without an end; and whether that is part of the certified comparison."""
        for exhibit in self.prelude:
            yield exhibit, False
        for exhibit in self.lap:
            yield exhibit, self.member.is_certified
        for exhibit in itertools.cycle(self.lap):
            yield exhibit, False


@dataclass(frozen=True, slots=True)
class Samples:
    """What one watch sends at once. A `sensors.Message`.

    Attributes:
        start_ns: Event time of the first sample.
        due_ns: Event time at which the message leaves the watch.
        samples: float32 [rows, channels], a view into the recording.
        opens: Whether a window begins with it.
        closes: The window that is full with it, if any.
    """

    topic: str
    seq: int
    start_ns: int
    due_ns: int
    samples: NDArray[np.float32]
    opens: bool
    closes: Asked | None

    @property
    def stream(self) -> str:
        """Messages of one stream belong together in order: those of one watch."""
        return self.topic

    def payload(self) -> bytes:
        """The JSON that travels; numbers are written so that reading them gives the same float32."""
        body = {"t0": iso8601(self.start_ns), "seq": self.seq, "samples": self.samples.astype(float).tolist()}
        return json.dumps(body, separators=(",", ":")).encode()


def iso8601(time_ns: int) -> str:
    """A time in UTC with milliseconds (event times here are whole milliseconds)."""
    seconds, rest_ns = divmod(time_ns, NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest_ns // 1_000_000:03d}Z"


def tracks(recordings: Iterable[Recording], members: Sequence[Wearers], questions: Questions) -> tuple[Track, ...]:
    """Give each person of each agent a watch.

    Each person of an agent begins its lap at another place, so that at any moment they do different exercises.

    Args:
        recordings: All recordings.
        members: The agents.
        questions: What is known about each field window.

    Returns:
        One track a person and agent; the lags of an agent's watches are spread evenly over a window's length.
    """
    found = list(recordings)
    made = []
    for member in members:
        for place, subject in enumerate(member.subjects):
            worn = [r for r in found if r.wrist is member.wrist and r.subject == subject]
            at_first = [r for r in found if r.wrist is member.begins_on and r.subject == subject]
            lap = _exhibits(worn, questions)
            first = len(lap) * place // len(member.subjects)
            prelude = _spread(_exhibits(at_first, questions), PRELUDE_WINDOWS)
            lag_ns = WINDOW_NS * place // len(member.subjects)
            made.append(Track(member, person(subject), prelude, lap[first:] + lap[:first], lag_ns))
    return tuple(made)


def comparison_s(watches: Iterable[Track]) -> float:
    """How long it takes in event time until the last window of the certified comparison is shown, in seconds."""
    return max(
        (len(track.prelude) + len(track.lap)) * WINDOW_S + track.lag_ns / NS_PER_S
        for track in watches
        if track.member.is_certified
    )


def schedule(watches: Iterable[Track], start_ns: int) -> Iterator[Samples]:
    """All messages in the order in which they leave, without an end.

    Args:
        watches: The tracks; each shows at least one window.
        start_ns: Event time of the first sample of every track; a whole second.

    Yields:
        The messages, by due time. `seq` counts up within an agent and person.
    """
    yield from heapq.merge(*(_track_messages(track, start_ns) for track in watches), key=lambda message: message.due_ns)


def _exhibits(recordings: Iterable[Recording], questions: Questions) -> tuple[Exhibit, ...]:
    return tuple(
        Exhibit(window, questions[recording.index, place])
        for recording in recordings
        for place, window in enumerate(split.field_windows(recording))
    )


def _spread(exhibits: tuple[Exhibit, ...], count: int) -> tuple[Exhibit, ...]:
    """So many of them, evenly from all over."""
    return exhibits[:: max(1, len(exhibits) // count)][:count]


def _track_messages(track: Track, start_ns: int) -> Iterator[Samples]:
    topic = track.member.source.render({"person": track.source})
    seq = 0
    for number, (exhibit, is_compared) in enumerate(track.showings()):
        window_ns = start_ns + number * WINDOW_NS
        asked = Asked(WindowKey(track.member.name, track.source, window_ns), exhibit.question, is_compared)
        for part in range(_MESSAGES):
            at_ns = window_ns + part * _MESSAGE_NS
            is_last = part == _MESSAGES - 1
            rows = exhibit.samples[part * MESSAGE_ROWS : (part + 1) * MESSAGE_ROWS]
            due_ns = at_ns + _MESSAGE_NS + track.lag_ns
            yield Samples(topic, seq, at_ns, due_ns, rows, part == 0, asked if is_last else None)
            seq += 1
