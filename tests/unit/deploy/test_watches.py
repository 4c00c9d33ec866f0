"""The watches: what they send and when, as a pure plan."""

import itertools
import json
from datetime import datetime

import numpy as np
import pytest

from deploy.demo.fleet import WRISTS, AgentName, Wearers
from deploy.demo.questions import Question, wrist_group
from deploy.demo.sensors import NS_PER_S
from deploy.demo.watches import (
    PRELUDE_WINDOWS,
    WINDOW_NS,
    Questions,
    Samples,
    Track,
    comparison_s,
    schedule,
    tracks,
)
from model_packs.shipped.motion_band import split
from model_packs.shipped.motion_band.dataset import Recording, Wrist

START_NS = 1_800_000_000 * NS_PER_S
MEMBER = Wearers(AgentName("right-x"), Wrist.RIGHT, (1, 2))


def recording(index: int, subject: int, rows: int = 1000, wrist: Wrist = Wrist.RIGHT) -> Recording:
    """A recording of random samples; of 1,000 rows the field holds 4 windows."""
    samples = np.random.default_rng(index).normal(size=(rows, 6)).astype(np.float32)
    return Recording(index, subject, wrist, "PEN", samples)


def asking(recordings: list[Recording]) -> Questions:
    """A question about each field window; its cluster is its recording."""
    return {
        (one.index, place): Question("PEN", wrist_group(one.wrist), one.index, {}, "PEN")
        for one in recordings
        for place in range(len(split.field_windows(one)))
    }


RECORDINGS = [recording(0, 1), recording(1, 2), recording(2, 1), recording(7, 1, wrist=Wrist.LEFT), recording(8, 3)]


@pytest.fixture
def watches() -> tuple[Track, ...]:
    """Two persons with two recordings and one; a left wrist and a stranger are nobody's."""
    return tracks(RECORDINGS, [MEMBER], asking(RECORDINGS))


def first(watches: tuple[Track, ...], seconds: int) -> list[Samples]:
    """What leaves in the first seconds."""
    end_ns = START_NS + seconds * NS_PER_S
    return list(itertools.takewhile(lambda message: message.due_ns <= end_ns, schedule(watches, START_NS)))


def test_each_person_has_a_lap_over_its_own_recordings(watches: tuple[Track, ...]) -> None:
    """A lap holds every field window of one person and the agent's wrist, once."""
    laps = [(track.source, [exhibit.question.cluster for exhibit in track.lap]) for track in watches]
    assert laps == [("p01", [0, 0, 0, 0, 2, 2, 2, 2]), ("p02", [1, 1, 1, 1])]


def test_persons_begin_at_different_places() -> None:
    """At one moment not everybody does the same exercise; nothing is left out."""
    both = [recording(n, subject) for subject in (1, 2) for n in (subject * 10, subject * 10 + 1)]
    one, other = tracks(both, [MEMBER], asking(both))
    assert [exhibit.question.cluster for exhibit in one.lap] == [10] * 4 + [11] * 4
    assert [exhibit.question.cluster for exhibit in other.lap] == [21] * 4 + [20] * 4


def test_the_watches_of_an_agent_do_not_all_send_at_once(watches: tuple[Track, ...]) -> None:
    """The lags of an agent's watches are spread over one window's length."""
    assert [track.lag_ns for track in watches] == [0, WINDOW_NS // 2]


def test_messages_leave_in_order_and_never_before_their_last_sample(watches: tuple[Track, ...]) -> None:
    """Due times never go back, and a message leaves after the time span that it covers."""
    messages = first(watches, 10)
    due = [message.due_ns for message in messages]
    assert due == sorted(due)
    assert all(m.due_ns >= m.start_ns + len(m.samples) * NS_PER_S // 50 for m in messages)


def test_the_messages_of_a_window_hold_exactly_the_field_window(watches: tuple[Track, ...]) -> None:
    """Five messages in a row, put together, are the field window in question, and it starts on a whole second."""
    messages = [message for message in first(watches, 5) if "/p02/" in message.topic]
    windows = split.field_windows(RECORDINGS[1])
    for number in range(4):
        mine = messages[5 * number : 5 * number + 5]
        assert [m.opens for m in mine] == [True, False, False, False, False]
        assert [m.closes is None for m in mine] == [True, True, True, True, False]
        asked = mine[-1].closes
        assert asked is not None
        assert (asked.key.source, asked.key.start_ns) == ("p02", START_NS + number * WINDOW_NS)
        place = (number + 2) % 4  # the second of two persons begins half a lap on
        assert np.array_equal(np.concatenate([m.samples for m in mine]), windows[place])


def test_only_the_first_lap_of_a_certified_wrist_is_compared(watches: tuple[Track, ...]) -> None:
    """Laps go on for ever; what is shown again is no new evidence."""
    asked = [message.closes for message in first(watches, 20) if message.closes]
    assert sum(one.is_compared for one in asked) == 12
    assert len(asked) == 40 - 1, "the second person's lag"
    left = Wearers(AgentName("left-x"), Wrist.LEFT, (1,))
    (track,) = tracks(RECORDINGS, [left], asking(RECORDINGS))
    assert not any(is_compared for _, is_compared in itertools.islice(track.showings(), 20))


def test_who_changes_the_wrist_shows_the_other_one_first() -> None:
    """The prelude is taken from all over the other wrist's recordings, and comes once."""
    many = [recording(n, 1, rows=3000, wrist=wrist) for n, wrist in enumerate((Wrist.RIGHT, Wrist.RIGHT, Wrist.LEFT))]
    member = Wearers(AgentName("left-x"), Wrist.LEFT, (1,), begins_on=Wrist.RIGHT)
    (track,) = tracks(many, [member], asking(many))
    shown = [
        exhibit.question for exhibit, _ in itertools.islice(track.showings(), PRELUDE_WINDOWS + len(track.lap) * 2)
    ]
    assert [question.group for question in shown] == ["right wrist"] * PRELUDE_WINDOWS + ["left wrist"] * (
        2 * len(track.lap)
    )
    assert {question.cluster for question in shown[:PRELUDE_WINDOWS]} == {0, 1}


def test_the_comparison_lasts_as_long_as_the_longest_certified_lap(watches: tuple[Track, ...]) -> None:
    """The first person's eight windows last longer than the second's four with their lag."""
    assert comparison_s(watches) == 8.0


def test_sequence_numbers_count_up_within_a_topic(watches: tuple[Track, ...]) -> None:
    """The first person's messages are numbered from 0 over all laps."""
    numbers = [message.seq for message in first(watches, 20) if "/p01/" in message.topic]
    assert numbers == list(range(100))


def test_a_payload_gives_back_the_same_floats() -> None:
    """Reading the JSON as float32 gives the samples bit by bit, and the start time with its milliseconds."""
    samples = np.random.default_rng(3).normal(size=(10, 6)).astype(np.float32)
    body = json.loads(Samples("t", 5, START_NS + 200_000_000, 0, samples, opens=True, closes=None).payload())
    assert np.array_equal(np.array(body["samples"], dtype=np.float32), samples)
    assert datetime.fromisoformat(body["t0"]).timestamp() == 1_800_000_000.2
    assert body["seq"] == 5
    assert set(body) == {"t0", "seq", "samples"}, "nothing else travels, least of all the truth"


def test_the_fleet_covers_every_person_of_each_wrist_once() -> None:
    """Right-wrist persons are split between two agents, left-wrist ones are one agent's."""
    by_wrist = {wrist: [s for m in WRISTS if m.wrist is wrist for s in m.subjects] for wrist in Wrist}
    assert {wrist: sorted(subjects) for wrist, subjects in by_wrist.items()} == {
        Wrist.LEFT: list(range(1, 11)),
        Wrist.RIGHT: list(range(1, 11)),
    }
