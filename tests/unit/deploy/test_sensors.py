"""The watches: what they send and when, as a pure plan; and that a broken connection loses no message."""

import json
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from deploy.demo.fleet import FLEET, AgentName, Member, WindowKey
from deploy.demo.sensors import (
    NS_PER_S,
    WINDOW_NS,
    Message,
    Sensors,
    Track,
    length_s,
    origin_ns,
    schedule,
    tracks,
    window_keys,
)
from model_packs.shipped.motion_band import split
from model_packs.shipped.motion_band.dataset import Recording, Wrist
from tests.simulators.brokers import Iotcore
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.waiting import wait_until

START_NS = 1_800_000_000 * NS_PER_S
MEMBER = Member(AgentName("right-x"), Wrist.RIGHT, (1, 2))


def recording(index: int, subject: int, rows: int = 1000, wrist: Wrist = Wrist.RIGHT) -> Recording:
    """A recording of random samples; of 1,000 rows the field holds 4 windows."""
    samples = np.random.default_rng(index).normal(size=(rows, 6)).astype(np.float32)
    return Recording(index, subject, wrist, "PEN", samples)


@pytest.fixture
def watches() -> tuple[Track, ...]:
    """Two persons with two recordings and one; a left wrist and a stranger are nobody's."""
    others = [recording(7, 1, wrist=Wrist.LEFT), recording(8, 3)]
    return tracks([recording(0, 1), recording(1, 2), recording(2, 1), *others], [MEMBER])


def test_each_person_has_a_track_with_its_own_recordings(watches: tuple[Track, ...]) -> None:
    """A track holds the recordings of one person and the agent's wrist, in the data set's order."""
    assert [(t.person, [r.index for r in t.recordings]) for t in watches] == [("p01", [0, 2]), ("p02", [1])]


def test_the_watches_of_an_agent_do_not_all_send_at_once(watches: tuple[Track, ...]) -> None:
    """The lags of an agent's watches are spread over one window's length."""
    assert [track.lag_ns for track in watches] == [0, WINDOW_NS // 2]


def test_messages_leave_in_order_and_never_before_their_last_sample(watches: tuple[Track, ...]) -> None:
    """Due times never go back, and a message leaves after the time span that it covers."""
    messages = list(schedule(watches, START_NS))
    due = [message.due_ns for message in messages]
    assert due == sorted(due)
    assert all(m.due_ns >= m.start_ns + len(m.samples) * NS_PER_S // 50 for m in messages)


def test_the_messages_of_a_window_hold_exactly_the_field_window(watches: tuple[Track, ...]) -> None:
    """Five messages in a row, put together, are the field window that the key names, and start on a whole second."""
    messages = list(schedule(watches, START_NS))
    for key, source, place in window_keys(watches, START_NS):
        assert key.start_ns % WINDOW_NS == 0
        mine = [
            m
            for m in messages
            if m.topic == f"demo/right-x/{key.person}/imu" and key.start_ns <= m.start_ns < key.start_ns + WINDOW_NS
        ]
        assert [m.closes for m in mine] == [None, None, None, None, key]
        assert np.array_equal(np.concatenate([m.samples for m in mine]), split.field_windows(source)[place])


def test_every_window_is_closed_by_one_message(watches: tuple[Track, ...]) -> None:
    """The keys of the plan and the keys that the messages close are the same."""
    closed = [message.closes for message in schedule(watches, START_NS) if message.closes]
    keys = [key for key, _, _ in window_keys(watches, START_NS)]
    assert len(closed) == len(keys) == 12
    assert set(closed) == set(keys)


def test_sequence_numbers_count_up_within_a_topic(watches: tuple[Track, ...]) -> None:
    """The first person's messages are numbered from 0 over both recordings."""
    numbers = [message.seq for message in schedule(watches, START_NS) if "/p01/" in message.topic]
    assert numbers == list(range(40))


def test_a_payload_gives_back_the_same_floats() -> None:
    """Reading the JSON as float32 gives the samples bit by bit, and the start time with its milliseconds."""
    samples = np.random.default_rng(3).normal(size=(10, 6)).astype(np.float32)
    body = json.loads(Message("t", 5, START_NS + 200_000_000, 0, samples, None).payload())
    assert np.array_equal(np.array(body["samples"], dtype=np.float32), samples)
    assert datetime.fromisoformat(body["t0"]).timestamp() == 1_800_000_000.2
    assert body["seq"] == 5
    assert set(body) == {"t0", "seq", "samples"}, "nothing else travels, least of all the truth"


@pytest.mark.parametrize("speed", [1.0, 4.0, 10.0])
def test_event_time_reaches_the_present_at_the_end_and_never_passes_it(speed: float) -> None:
    """At each moment of a replay its event time is not later than the wall clock, and at the end at most 1 s behind."""
    now_ns, stream_s = START_NS + 123_456_789, 70.0
    start_ns = origin_ns(now_ns, stream_s, speed)
    assert start_ns % NS_PER_S == 0
    for part in (0.0, 0.5, 1.0):
        behind_s = (now_ns - start_ns) / NS_PER_S + part * stream_s / speed - part * stream_s
        assert behind_s >= 0
    assert behind_s <= 1


def test_the_fleet_covers_every_person_of_each_wrist_once() -> None:
    """Right-wrist persons are split between two agents, left-wrist ones are one agent's."""
    by_wrist = {wrist: [s for m in FLEET if m.wrist is wrist for s in m.subjects] for wrist in Wrist}
    assert {wrist: sorted(subjects) for wrist, subjects in by_wrist.items()} == {
        Wrist.LEFT: list(range(1, 11)),
        Wrist.RIGHT: list(range(1, 11)),
    }


def test_a_broker_that_dies_on_the_way_costs_no_message(run_folder: Path) -> None:
    """Messages that a killed broker had not acknowledged are sent again to its successor; each is acked once."""
    watches = tracks([recording(0, 1), recording(1, 2)], [MEMBER])
    total = len(list(schedule(watches, START_NS)))
    told: list[WindowKey] = []
    broker = Iotcore(run_folder)
    broker.start()
    sensors = Sensors(
        (broker.host, broker.port),
        schedule(watches, START_NS),
        start_ns=START_NS,
        speed=4.0,
        clock=time.monotonic,
        on_window=lambda key, _at_s: told.append(key),
    )
    try:
        sensors.open()
        wait_until(lambda: sensors.acked >= total // 4, 10, "a quarter is acknowledged")
        broker.kill()
        broker.start()
        with MqttProbe(broker) as probe:
            probe.subscribe("demo/#")
            wait_until(lambda: sensors.is_done, 20, "everything is acknowledged")
            assert sensors.acked == total
            assert len(told) == 8
            assert probe.messages, "the second broker got the rest"
    finally:
        sensors.close()
        broker.kill()


def test_the_length_is_that_of_the_longest_track(watches: tuple[Track, ...]) -> None:
    """The first person's eight windows last longer than the second's four with their lag."""
    assert length_s(watches) == 8.0
