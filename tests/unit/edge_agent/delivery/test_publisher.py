"""The last mile: each committed message goes to its broker once a connection, until it is acknowledged."""

import time
from collections.abc import Collection, Sequence

import pytest

from edge_agent.delivery.publisher import WAIT_S, Publisher
from edge_agent.ports import Publish, RowId
from tests.unit.edge_agent.inference.pipeline_parts import BROKER, RedeliveringBroker


class Rows:
    """Committed rows; `published` may be told to fail."""

    def __init__(self, count: int) -> None:
        self.waiting = {RowId(n): Publish(RowId(n), BROKER, "t", b"x", 1) for n in range(1, count + 1)}
        self.trimmed: list[RowId] = []
        self.is_broken = False

    def publishable(self, broker: str, limit: int, in_flight: Collection[RowId]) -> list[Publish]:
        """Oldest first."""
        return [p for row, p in self.waiting.items() if p.broker == broker and row not in in_flight][:limit]

    def published(self, rows: Sequence[RowId]) -> None:
        """Trim."""
        if self.is_broken:
            raise OSError("the disk is broken")
        self.trimmed += rows
        for row in rows:
            self.waiting.pop(row, None)


def test_a_backlog_goes_out_oldest_first_and_is_trimmed_when_acknowledged() -> None:
    """Larger than one batch: the loop goes on by itself."""
    rows, broker = Rows(500), RedeliveringBroker()
    publisher = Publisher(rows, {BROKER: broker})
    for _ in range(3):
        publisher.run_once()
    assert [publish.row for publish in broker.answers] == list(range(1, 501))
    publisher.acknowledged([publish.row for publish in broker.answers])
    publisher.run_once()
    assert rows.waiting == {}


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


def test_a_backlog_of_more_than_one_batch_does_not_wait_between_them() -> None:
    """The loop wakes itself while there is more."""
    rows, broker = Rows(1000), RedeliveringBroker()
    publisher = Publisher(rows, {BROKER: broker})
    began_s = time.monotonic()
    while len(broker.answers) < 1000:
        publisher.run_once()
    assert time.monotonic() - began_s < 4 * WAIT_S / 2


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
