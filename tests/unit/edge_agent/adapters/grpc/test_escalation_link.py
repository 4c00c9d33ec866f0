"""The link's rules on a hub's bad days, against a scripted hub."""

import time
from collections.abc import Iterator

import pytest

from edge_agent.adapters.grpc.dialling import LoopbackPlain
from edge_agent.adapters.grpc.escalation_link import EscalationLink
from protos.link.backoff import Backoff
from protos.messages.escalation import (
    EARLY_VERDICTS,
    NOT_LOGGED,
    Credit,
    Escalation,
    GoAway,
    Hello,
    ItemClass,
    PredictionId,
    Reject,
    Verdict,
    VerdictAck,
)
from protos.messages.inference import Tier
from protos.status import Status
from protos.tandem.v1 import escalation_pb2 as pb
from tests.simulators.clocks import SystemClock
from tests.simulators.escalation_book import FakeBook, escalation
from tests.simulators.scripted_hub import ScriptedHub, ack, welcome


class Steered(SystemClock):
    """A clock that a test can push forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic_s(self) -> float:
        """The machine's, and what the test added."""
        return time.monotonic() + self.ahead_s


class Side:
    """A link, its book and its clock."""

    def __init__(self, hub: ScriptedHub) -> None:
        self.book = FakeBook()
        self.clock = Steered()
        dialler = LoopbackPlain(hub.address, "press-07")
        self.failures: list[str] = []
        self.early: list[Verdict] = []
        self.link = EscalationLink(
            dialler,
            self.book,
            self.book,
            self.clock,
            Backoff(0.05, 0.1),
            on_early=self.early.append,
            on_failure=self.failures.append,
        )


@pytest.fixture
def hub() -> Iterator[ScriptedHub]:
    """A scripted hub."""
    with ScriptedHub() as served:
        yield served


@pytest.fixture
def side(hub: ScriptedHub) -> Iterator[Side]:
    """An open link to it."""
    made = Side(hub)
    made.link.open()
    yield made
    made.link.close()


def question(number: int, samples: int = 5) -> Escalation:
    """A small window."""
    return escalation(number, samples=samples, channels=2, hub_pack="tiny-hub@1.0.0", edge_pack="tiny-edge@1.0.0")


def verdict(seq: int) -> Verdict:
    """A verdict that says nothing."""
    return Verdict(seq, PredictionId(f"prediction-{seq}"), "sha256:0", 1, Tier.HUB, None, 0.0, (), 0, 0.0)


def test_hello_comes_first_and_nothing_before_welcome(hub: ScriptedHub, side: Side) -> None:
    """Items wait for the credit that Welcome brings."""
    side.book.add(question(1))
    stream = hub.next_stream()
    stream.wait_for_count(1)
    assert isinstance(stream.received[0], Hello)
    assert stream.seqs == []
    stream.send(welcome())
    stream.wait_for_items(1)
    assert side.book.ups == 1


def test_no_more_goes_out_than_the_credit_allows(hub: ScriptedHub, side: Side) -> None:
    """Three at first; one more for each ack; more when the hub grants more."""
    for number in range(10):
        side.book.add(question(number))
    stream = hub.next_stream()
    stream.send(welcome(items=3))
    stream.wait_for_items(3)
    stream.send(ack(1))
    stream.wait_for_items(4)
    assert stream.seqs == [1, 2, 3, 4]
    stream.send(Credit(64, 1 << 20))
    stream.wait_for_items(10)
    assert stream.seqs == list(range(1, 11))


def test_a_verdict_is_acknowledged_after_it_was_stored(hub: ScriptedHub, side: Side) -> None:
    """The acknowledgement names the verdict's place in the log."""
    stream = hub.next_stream()
    stream.send(welcome(), verdict(7))
    stream.wait_for_count(2)
    assert stream.received[1] == VerdictAck(7)
    assert list(side.book.verdicts) == [7]


def test_a_verdict_that_is_not_logged_yet_is_told_and_neither_stored_nor_acknowledged(
    hub: ScriptedHub, side: Side
) -> None:
    """It is for those who wait; the log says for good what the answer is."""
    stream = hub.next_stream()
    stream.send(welcome(), verdict(NOT_LOGGED), verdict(7))
    stream.wait_for_count(2)
    assert isinstance(stream.received[0], Hello)
    assert EARLY_VERDICTS in stream.received[0].capabilities
    assert stream.received[1] == VerdictAck(7)
    assert list(side.book.verdicts) == [7]
    assert side.early == [verdict(NOT_LOGGED)]


def test_what_a_stream_of_no_use_brings_is_left(hub: ScriptedHub, side: Side) -> None:
    """A hub that is not the one of Hello began its log at a foreign cursor; the next stream brings the verdict."""
    side.book.accepts_welcome = False
    first = hub.next_stream()
    first.send(welcome(), verdict(7))
    second = hub.next_stream()
    assert side.book.verdicts == {}
    second.send(welcome(2), verdict(1))
    second.wait_for_count(2)
    assert list(side.book.verdicts) == [1]


def test_a_verdict_that_was_not_stored_is_not_acknowledged(hub: ScriptedHub, side: Side) -> None:
    """A store that fails ends the stream; the next one gets the verdict again."""
    side.book.next_failure = OSError("disk full")
    first = hub.next_stream()
    first.send(welcome(), verdict(1))
    second = hub.next_stream()
    assert VerdictAck(1) not in first.received
    second.send(welcome(2), verdict(1))
    second.wait_for_count(2)
    assert second.received[1] == VerdictAck(1)
    assert "its log has the traceback" in side.book.downs[0]
    assert side.failures == ["hub-sender"]


def test_go_away_is_obeyed(hub: ScriptedHub, side: Side) -> None:
    """The link comes back, not before it was told to, and says why it was away."""
    stream = hub.next_stream()
    stream.send(welcome(), GoAway("the hub restarts", 300))
    stream.end()
    began_s = time.monotonic()
    hub.next_stream().send(welcome(2))
    assert time.monotonic() - began_s >= 0.25
    side.book.wait(lambda: side.book.ups == 2, "the second session")
    assert "the hub restarts" in side.book.downs[0]


def test_resource_exhausted_stops_sending_never_acking(hub: ScriptedHub, side: Side) -> None:
    """While the pause lasts acks and verdicts are taken; then one item asks, and sending goes on when it is taken."""
    for number in range(2):
        side.book.add(question(number))
    stream = hub.next_stream()
    stream.send(welcome())
    stream.wait_for_items(2)
    stream.send(Reject(ItemClass.ESCALATION, 1, Status.RESOURCE_EXHAUSTED, "busy", 60_000))
    side.book.wait(lambda: bool(side.book.rejects), "the reject")
    side.book.add(question(3))
    stream.send(ack(2), verdict(1))
    side.book.wait(lambda: 2 in side.book.acked_seqs and 1 in side.book.verdicts, "ack and verdict in the pause")
    stream.wait_for_count(4)
    assert stream.seqs == [1, 2]
    side.clock.ahead_s = 62.0
    stream.wait_for_items(3)
    assert stream.seqs == [1, 2, 1]
    stream.send(ack(1))
    stream.wait_for_items(4)
    assert stream.seqs == [1, 2, 1, 3]


def test_a_hub_that_stays_full_is_asked_with_one_item_at_a_time(hub: ScriptedHub, side: Side) -> None:
    """However many wait and were turned away, each pause ends with one item; when that is taken, all go."""
    for number in range(10):
        side.book.add(question(number))
    stream = hub.next_stream()
    stream.send(welcome())
    stream.wait_for_items(10)
    full = [Reject(ItemClass.ESCALATION, seq, Status.RESOURCE_EXHAUSTED, "full", 1000) for seq in range(1, 11)]
    stream.send(*full)
    side.book.wait(lambda: len(side.book.rejects) == 10, "all turned away")
    for turn in range(1, 4):
        side.clock.ahead_s += 100.0
        stream.wait_for_items(10 + turn)
        stream.send(full[0], verdict(turn))
        side.book.wait(lambda turn=turn: turn in side.book.verdicts, "the verdict behind the refusal")  # type: ignore[misc] # a default binds the turn's number
    assert stream.seqs[10:] == [1, 1, 1]
    side.clock.ahead_s += 100.0
    stream.wait_for_items(14)
    stream.send(ack(1))
    stream.wait_for_items(23)
    assert stream.seqs[14:] == list(range(2, 11))


def test_a_final_reject_ends_the_item_and_no_other(hub: ScriptedHub, side: Side) -> None:
    """What stands behind a poison item goes out."""
    for number in range(3):
        side.book.add(question(number))
    stream = hub.next_stream()
    stream.send(welcome(items=1))
    stream.wait_for_items(1)
    stream.send(Reject(ItemClass.ESCALATION, 1, Status.INVALID_ARGUMENT, "no"))
    stream.wait_for_items(2)
    stream.send(ack(2))
    stream.wait_for_items(3)
    assert stream.seqs == [1, 2, 3]


def test_a_reject_of_the_whole_outbox_ends_the_stream_and_the_next_begins_with_hello(
    hub: ScriptedHub, side: Side
) -> None:
    """`ABORTED` asks for the larger step: the store has taken another id, which only a new Hello can tell."""
    side.book.add(question(1))
    stream = hub.next_stream()
    stream.send(welcome())
    stream.wait_for_items(1)
    stream.send(Reject(ItemClass.ESCALATION, 1, Status.ABORTED, "this place holds another"))
    hub.next_stream().send(welcome(2))
    side.book.wait(lambda: side.book.ups == 2, "the second session")
    assert "this place holds another" in side.book.downs[0]


def test_an_item_that_no_message_can_carry_ends_here(hub: ScriptedHub, side: Side) -> None:
    """It would fail every stream for ever; it is refused on the device, and the next one goes out."""
    side.book.add(question(1, samples=5_000_000))
    side.book.add(question(2))
    stream = hub.next_stream()
    stream.send(welcome())
    stream.wait_for_items(1)
    assert stream.seqs == [2]
    assert [(reject.seq, reject.status) for reject in side.book.rejects] == [(1, Status.INVALID_ARGUMENT)]


def test_a_silent_hub_is_given_up_after_the_deadline(hub: ScriptedHub, side: Side) -> None:
    """No Welcome: the reason says so, and a new session begins."""
    hub.next_stream().wait_for_count(1)
    side.clock.ahead_s = 11.0
    hub.next_stream()
    assert "did not answer Hello" in side.book.downs[0]


def test_another_wire_version_is_named(hub: ScriptedHub, side: Side) -> None:
    """Both versions, and the mend."""
    newer = pb.EscalateResponse(welcome=pb.Welcome(wire_version=9, session_epoch=1, hub_incarnation="h"))
    hub.next_stream().send_wire(newer)
    side.book.wait(lambda: bool(side.book.downs), "a report")
    assert "wire version 9" in side.book.downs[0]
    assert "same release" in side.book.downs[0]


def test_a_message_that_cannot_be_read_ends_the_stream(hub: ScriptedHub, side: Side) -> None:
    """It is the hub's fault, told as such; a new session begins."""
    stream = hub.next_stream()
    stream.send(welcome())
    stream.send_wire(pb.EscalateResponse())
    hub.next_stream()
    assert "cannot read" in side.book.downs[0]
    assert side.failures == []


def test_a_stream_that_ends_without_a_word_is_made_anew(hub: ScriptedHub, side: Side) -> None:
    """Items in flight go out again on the new stream."""
    side.book.add(question(1))
    first = hub.next_stream()
    first.send(welcome())
    first.wait_for_items(1)
    first.end()
    second = hub.next_stream()
    second.send(welcome(2))
    second.wait_for_items(1)
    assert second.seqs == [1]


def test_close_waits_for_nobody(hub: ScriptedHub) -> None:
    """Before Welcome, with a hub that keeps silent; and twice."""
    side = Side(hub)
    side.link.open()
    hub.next_stream().wait_for_count(1)
    began_s = time.monotonic()
    side.link.close()
    side.link.close()
    assert time.monotonic() - began_s < 2
    assert side.book.downs == []
