"""Feedback reaches the hub: in batches, again after failures, and one bad judgement stops no other."""

import threading
from collections.abc import Iterator

import grpc
import pytest

from edge_agent.adapters.grpc.dialling import LoopbackPlain
from edge_agent.adapters.grpc.feedback_link import FeedbackLink
from protos.link.backoff import Backoff
from protos.messages.feedback import FeedbackBatch, FeedbackReceipt
from tests.simulators.network import LOOPBACK, free_port
from tests.simulators.scripted_feedback import FakeFeedbackBook, ScriptedFeedbackHub, takes_all
from tests.simulators.waiting import wait_until

DEADLINE_S = 30.0


class Side:
    """A link and its book."""

    def __init__(self, address: str) -> None:
        self.book = FakeFeedbackBook()
        self.told: list[str] = []
        self.failures: list[str] = []
        self.link = FeedbackLink(
            LoopbackPlain(address, "press-07"),
            self.book,
            Backoff(0.05, 0.1),
            on_state=self.told.append,
            on_failure=self.failures.append,
        )


@pytest.fixture
def hub() -> Iterator[ScriptedFeedbackHub]:
    """A scripted hub."""
    with ScriptedFeedbackHub() as served:
        yield served


@pytest.fixture
def side(hub: ScriptedFeedbackHub) -> Iterator[Side]:
    """An open link to it."""
    made = Side(hub.address)
    made.link.open()
    yield made
    made.link.close()
    made.link.close()
    assert made.failures == []


def test_what_waits_goes_in_one_batch_and_what_comes_later_in_the_next(hub: ScriptedFeedbackHub, side: Side) -> None:
    """Oldest first; the link waits for news without asking the hub."""
    side.book.put(1, 2, 3)
    assert hub.next_batch() == [1, 2, 3]
    side.book.wait_until_empty()
    side.book.put(4)
    assert hub.next_batch() == [4]
    side.book.wait_until_empty()
    assert side.book.applied == [1, 2, 3, 4]
    assert set(side.told) == {""}


def test_a_batch_is_no_larger_than_the_wire_allows(hub: ScriptedFeedbackHub, side: Side) -> None:
    """The rest follows."""
    side.book.put(*range(1, 301))
    seen = [*hub.next_batch(), *hub.next_batch()]
    while len(seen) < 300:
        seen += hub.next_batch()
    assert sorted(set(seen)) == list(range(1, 301))
    side.book.wait_until_empty()


def test_a_hub_that_fails_is_told_and_asked_again(hub: ScriptedFeedbackHub, side: Side) -> None:
    """With the same batch, which the hub may have applied already; then the trouble is over."""
    answers = iter([grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
    hub.answer = lambda batch: next(answers, None) or takes_all(batch)
    side.book.put(1)
    assert [hub.next_batch(), hub.next_batch(), hub.next_batch()] == [[1], [1], [1]]
    side.book.wait_until_empty()
    wait_until(lambda: side.told[-1:] == [""], DEADLINE_S, "the trouble is over")
    assert "cannot be reached" in side.told[0]


def test_one_judgement_that_the_hub_cannot_read_is_found_and_refused(hub: ScriptedFeedbackHub, side: Side) -> None:
    """A whole call refused for ever is given again one by one."""

    def answer(batch: FeedbackBatch) -> FeedbackReceipt | grpc.StatusCode:
        return grpc.StatusCode.INVALID_ARGUMENT if 3 in [item.seq for item in batch.items] else takes_all(batch)

    hub.answer = answer
    side.book.put(1, 2, 3, 4, 5)
    side.book.wait_until_empty()
    assert side.book.refused == [3]
    assert side.book.applied == [1, 2, 4, 5]
    assert [hub.next_batch() for _ in range(5)] == [[1, 2, 3, 4, 5], [1], [2], [3], [4, 5]]


def test_closing_does_not_wait_for_a_hub_that_hangs(hub: ScriptedFeedbackHub) -> None:
    """The call is cancelled; what was given stays in the book."""
    free = threading.Event()

    def hang(batch: FeedbackBatch) -> FeedbackReceipt:
        free.wait(DEADLINE_S)
        return takes_all(batch)

    hub.answer = hang
    side = Side(hub.address)
    side.link.open()
    side.book.put(1)
    hub.next_batch()
    side.link.close()
    assert "hub-feedback" not in [thread.name for thread in threading.enumerate()]
    free.set()
    assert side.book.applied == []


def test_a_hub_that_is_not_there_is_told_with_the_mend() -> None:
    """Nothing is lost meanwhile."""
    side = Side(f"{LOOPBACK}:{free_port()}")
    side.link.open()
    side.book.put(1)
    wait_until(lambda: bool(side.told), DEADLINE_S, "the trouble is told")
    side.link.close()
    assert "nothing listens at hub" in side.told[0]
    assert "start the hub" in side.told[0]
    assert list(side.book.waiting) == [1]
