"""The last mile: each committed message goes to its broker once a connection, until it is acknowledged."""

import time
from collections.abc import Collection, Sequence

import pytest

from edge_agent.delivery.publisher import BACKLOG_IN_FLIGHT, REFUSED_S, WAIT_S, Publisher
from edge_agent.ports import Publish, RowId
from tests.unit.edge_agent.inference.pipeline_parts import BROKER, RedeliveringBroker


class Rows:
    """Committed rows; `published` may be told to fail."""

    def __init__(self, count: int) -> None:
        self.waiting = {RowId(n): Publish(RowId(n), BROKER, "t", b"x", 1) for n in range(1, count + 1)}
        self.told: list[RowId] = []
        self.trimmed: list[RowId] = []
        self.is_broken = False

    def publishable(self, broker: str, limit: int, in_flight: Collection[RowId]) -> list[Publish]:
        """Oldest first."""
        return [p for row, p in self.waiting.items() if p.broker == broker and row not in in_flight][:limit]

    def delivered(self, rows: Sequence[RowId]) -> None:
        """What is to be trimmed."""
        self.told += rows

    def published(self, rows: Sequence[RowId]) -> None:
        """Trim."""
        if self.is_broken:
            raise OSError("the disk is broken")
        self.trimmed += rows
        for row in rows:
            self.waiting.pop(row, None)


def test_a_backlog_goes_out_oldest_first_and_is_trimmed_when_acknowledged() -> None:
    """Larger than what may be under way at once: each acknowledgement makes room for more."""
    rows, broker = Rows(500), RedeliveringBroker()
    publisher = Publisher(rows, {BROKER: broker})
    done = 0
    while rows.waiting:
        publisher.run_once()
        assert len(broker.answers) - done <= BACKLOG_IN_FLIGHT
        publisher.acknowledged([publish.row for publish in broker.answers[done:]])
        done = len(broker.answers)
    assert [publish.row for publish in broker.answers] == list(range(1, 501))


def test_a_live_answer_does_not_stand_behind_a_backlog() -> None:
    """The loop leaves a part of the broker's window to what the pipeline publishes itself."""
    rows, broker = Rows(500), RedeliveringBroker()
    publisher = Publisher(rows, {BROKER: broker})
    publisher.run_once()
    live = Publish(RowId(1000), BROKER, "t", b"live", 1)
    publisher.publish_now([live])
    publisher.run_once()
    assert [publish.row for publish in broker.answers] == [*range(1, BACKLOG_IN_FLIGHT + 1), 1000]


def test_what_a_broker_refuses_leaves_its_window_and_is_tried_again_later() -> None:
    """It holds up nothing else, and is not sent in a circle."""
    now_s = [0.0]
    rows, broker = Rows(60), RedeliveringBroker()
    publisher = Publisher(rows, {BROKER: broker}, monotonic_s=lambda: now_s[0])
    publisher.run_once()
    publisher.refused(BROKER, [RowId(1), RowId(2), RowId(0)])
    publisher.acknowledged([RowId(row) for row in range(3, 51)])
    publisher.run_once()
    assert [publish.row for publish in broker.answers[50:]] == list(range(51, 61))
    publisher.acknowledged([RowId(row) for row in range(51, 61)])
    publisher.run_once()
    assert set(rows.waiting) == {1, 2}
    now_s[0] = REFUSED_S + 1
    publisher.wake()
    publisher.run_once()
    assert [publish.row for publish in broker.answers[60:]] == [1, 2]


def test_a_broker_that_refuses_everything_is_given_a_rest() -> None:
    """What is refused is remembered by row, so there is an end to it; a new connection begins anew."""
    now_s = [0.0]
    rows, broker = Rows(5000), RedeliveringBroker(window=5000)
    publisher = Publisher(rows, {BROKER: broker}, monotonic_s=lambda: now_s[0])
    done = 0
    while True:
        publisher.wake()
        publisher.run_once()
        if len(broker.answers) == done:
            break
        publisher.refused(BROKER, [publish.row for publish in broker.answers[done:]])
        done = len(broker.answers)
    assert done == 1000
    publisher.connection_changed(BROKER, is_up=False)
    publisher.run_once()
    assert [publish.row for publish in broker.answers[done:]] == list(range(1, BACKLOG_IN_FLIGHT + 1))


def test_nothing_is_published_before_it_is_stored_while_the_outbox_blocks() -> None:
    """Its row may wait for long, and all that is known of its acknowledgement is in memory."""
    broker = RedeliveringBroker()
    publisher = Publisher(Rows(0), {BROKER: broker}, is_held=lambda: True)
    publisher.publish_now([Publish(RowId(1), BROKER, "t", b"x", 1)])
    assert broker.answers == []


def test_nothing_is_handed_to_a_broker_that_is_away() -> None:
    """It waits in the store until the connection is there."""
    rows, broker = Rows(3), RedeliveringBroker(connected=False)
    publisher = Publisher(rows, {BROKER: broker})
    publisher.run_once()
    assert broker.answers == []
    broker.connected = True
    publisher.connection_changed(BROKER, is_up=True)
    publisher.run_once()
    assert len(broker.answers) == 3


def test_a_commit_wakes_the_loop() -> None:
    """What was committed while the loop waits goes out at once, not with its next look."""
    rows, broker = Rows(0), RedeliveringBroker()
    publisher = Publisher(rows, {BROKER: broker})
    publisher.run_once()  # the first turn never waits
    rows.waiting[RowId(1)] = Publish(RowId(1), BROKER, "t", b"x", 1)
    publisher.wake()
    began_s = time.monotonic()
    publisher.run_once()
    assert [publish.row for publish in broker.answers] == [1]
    assert time.monotonic() - began_s < WAIT_S / 2


def test_acknowledgements_of_live_answers_are_trimmed_together() -> None:
    """The store hears of each at once, and trims them when some have come."""
    rows, broker = Rows(0), RedeliveringBroker()
    publisher = Publisher(rows, {BROKER: broker})
    publisher.run_once()  # the first turn never waits
    live = [Publish(RowId(row), BROKER, "t", b"x", 1) for row in (1, 2)]
    publisher.publish_now(live)
    publisher.acknowledged([RowId(1)])
    publisher.acknowledged([RowId(2)])
    assert rows.told == [1, 2]
    publisher.run_once()
    assert rows.trimmed == [1, 2]


def test_news_without_a_row_is_not_trimmed() -> None:
    """Row 0 is no row: the status on its own topic is not in the store."""
    rows, broker = Rows(0), RedeliveringBroker()
    publisher = Publisher(rows, {BROKER: broker})
    publisher.acknowledged([RowId(0)])
    publisher.run_once()
    assert rows.trimmed == []


def test_an_acknowledgement_that_could_not_be_written_is_written_later() -> None:
    """A failed trim must not leave a delivered message in the store for ever."""
    rows, broker = Rows(1), RedeliveringBroker()
    publisher = Publisher(rows, {BROKER: broker})
    publisher.run_once()
    publisher.acknowledged([RowId(1)])
    rows.is_broken = True
    with pytest.raises(OSError, match="broken"):
        publisher.run_once()
    rows.is_broken = False
    publisher.run_once()
    assert rows.waiting == {}
    assert len(broker.answers) == 1
