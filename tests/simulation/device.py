"""Owns the simulated device: the real store and the real escalation session, one step at a time.

It does what the pipeline, the publisher and the loops of `edge_agent/adapters/grpc` do, in their order and with their
crash points, but without threads: who comes next is the scheduler's. What is decided is the store's and the session's.
"""

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from edge_agent.adapters.grpc.dialling import Dialler
from edge_agent.adapters.grpc.escalation_link import _Session
from edge_agent.adapters.grpc.redial import HubAwayError
from edge_agent.adapters.sqlite.handling import Action
from edge_agent.adapters.sqlite.outbox import Subject
from edge_agent.adapters.sqlite.store import Store, StoreSettings
from edge_agent.core.accounting import DEVICE, Count
from edge_agent.core.durability import JournalTerms
from edge_agent.core.escalation import Outcome
from edge_agent.core.feedback import Said
from edge_agent.ports import AckHandle, BindingName, CounterKey, Decided, GivenFeedback, Publish, RowId, Unit
from model_packs.process.crash_points import CrashPoint, crash_point
from protos.link.tls import HubChannel
from protos.messages.escalation import ItemClass, PredictionId
from protos.messages.feedback import FeedbackBatch, FeedbackReceipt, Judgement
from protos.tandem.v1 import escalation_pb2 as pb
from tests.simulation.network import Stream
from tests.simulation.stepped_store import Disk, Watch, stepped_store
from tests.unit.edge_agent.adapters.sqlite.builders import BINDING, MODEL, TestClock, escalation, record_unit

BROKER = "plant"

_LIMIT = 3


@dataclass(frozen=True, slots=True)
class Record:
    """What a sensor says, and what the agent will make of it.

    Attributes:
        number: Of the message; its window is the prediction `p<number>`.
        is_escalated: Whether the policy asks the hub.
        input_digest: Of the window; another one: the same window was measured anew.
        expiry_s: Of the message that publishes the answer.
    """

    number: int
    is_escalated: bool
    input_digest: str
    expiry_s: int | None = None

    @property
    def prediction_id(self) -> PredictionId:
        """Of its window."""
        return PredictionId(f"p{self.number}")


class _NoCalls:
    """Stands where a gRPC channel stands: stubs are made of it, none is called."""

    def stream_stream(self, *_: object, **__: object) -> None:
        """Make a stub."""


class _Nowhere:
    """Stands where a dialler stands; the session asks for its address only."""

    address = "hub:8443"


class Device:
    """One life of the agent after another over one disk.

    Args:
        clock: The device's.
        settings: The store's bounds.
        terms: Of its one binding.
        watch: Told of what changes in the database.
        has_power_cuts: Whether `reboot` may be called.
    """

    def __init__(
        self, clock: TestClock, settings: StoreSettings, terms: JournalTerms, watch: Watch, *, has_power_cuts: bool
    ) -> None:
        self.clock = clock
        self.disk = Disk(watch, keeps_images=has_power_cuts)
        self.stream: Stream | None = None
        self.in_flight: dict[RowId, Publish] = {}
        self.acked: list[int] = []
        self._settings = settings
        self._terms = terms
        self._session: _Session | None = None
        self._is_greeted = False
        self._boots = itertools.count(2)
        self._store = self._started()

    @property
    def store(self) -> Store:
        """The store of this life."""
        return self._store

    @property
    def may_send(self) -> bool:
        """Whether a session stands."""
        return self._is_greeted

    def restart(self) -> None:
        """Lose everything but the disk and start again; the same boot goes on."""
        self.hang_up()
        self.in_flight = {}
        self._store = self._started()

    def reboot(self, image: bytes, *, is_synced: bool) -> None:
        """The power was cut: the disk has this, the monotonic clock begins again, the wall clock may not be known."""
        self.clock.boot, self.clock.monotonic, self.clock.synced = f"boot-{next(self._boots)}", 5.0, is_synced
        self.put_back(image)

    def put_back(self, image: bytes) -> None:
        """Come back on an older copy of the database."""
        self.hang_up()
        self.disk.put_back(image)
        self.restart()

    def take(self, record: Record) -> None:
        """A record comes: journaled, inferred, asked about and acknowledged; a repeat is only counted."""
        key = b"key %d" % record.number
        handle = AckHandle(BROKER, 1, record.number, 1)
        known = self.disk.connection.execute("SELECT 1 FROM seen WHERE key = ?", (key,)).fetchone()
        if known is not None:
            counts: dict[CounterKey, int] = {
                (BINDING, Count.RECORDS_RECEIVED): 1,
                (BINDING, Count.RECORDS_DUPLICATE): 1,
            }
            self._store.submit(Unit(counts=counts, acks=(handle,), terms=self._terms))
            return
        unit = record_unit(self._store, key, self._decided(record), message_id=record.number)
        unit = replace(unit, terms=self._terms)
        crash_point(CrashPoint.RECEIVED)
        self._store.submit(unit)

    def publish(self) -> list[Publish]:
        """Hand the next messages to the broker; they are in flight until it acknowledges them."""
        found = self._store.publishable(BROKER, _LIMIT, self.in_flight.keys())
        self.in_flight |= {one.row: one for one in found}
        return found

    def published(self, rows: Sequence[RowId]) -> None:
        """The broker has acknowledged these."""
        crash_point(CrashPoint.PUBACK)
        for row in rows:
            self.in_flight.pop(row, None)
        self._store.published(rows)

    def judge(self, prediction_id: PredictionId, label: str) -> None:
        """Somebody at the device says what is right."""
        said = Said(prediction_id, Judgement.LABEL, label, "shift 2", "")
        given = GivenFeedback(said, "press/feedback", self.clock.wall, b"{}")
        self._store.submit(Unit(counts={(BindingName(DEVICE), Count.FEEDBACK_RECEIVED): 1}, feedback=(given,)))

    def batch(self) -> FeedbackBatch | None:
        """Judgements that the hub may be told now."""
        return self._store.feedback.next_batch(_LIMIT)

    def settled(self, batch: FeedbackBatch, receipt: FeedbackReceipt) -> None:
        """The hub's receipt came."""
        self._store.feedback.settled(batch, receipt)

    def dial(self) -> Stream:
        """Open a stream and say Hello on it."""
        self.hang_up()
        self.stream = Stream()
        channel = cast("HubChannel", type("Channel", (), {"channel": _NoCalls(), "metadata": ()})())
        dialler = cast("Dialler", _Nowhere())
        session = self._session = _Session(dialler, self._store.book, self.clock, channel, lambda _: None)
        vars(session._stream).update(open=lambda: None)  # no call, no reader: the scheduler hands messages over
        session.open()
        self._flush()
        return self.stream

    def hang_up(self) -> None:
        """Leave the stream."""
        if self.stream is not None:
            self.stream.is_cut = True
        self.stream, self._session, self._is_greeted = None, None, False

    def hear(self, wire: pb.EscalateResponse) -> None:
        """One message of the hub, as the reader thread takes it; then what the sender's loop makes of it."""
        session = self._session
        assert session is not None
        try:
            session._receive(wire)
        except HubAwayError:
            self.hang_up()
            return
        welcome = session._welcome
        if welcome is not None and not self._is_greeted:
            if not session._is_of_use:
                self.hang_up()
                return
            session._window.grant(welcome.credit)
            self._is_greeted = True
        self._flush()
        if session._farewell is not None:
            self.hang_up()

    def send(self) -> bool:
        """One pass of the sender's loop; False when nothing may go, or nothing waits."""
        session = self._session
        assert session is not None
        limit = session._room()
        items = self._store.book.next_items(limit, session._window.in_flight) if limit else []
        done = session._send(items)
        self._flush()
        return done > 0

    def by_hand(self, action: Action, row: RowId) -> None:
        """A person purges or retries one item."""
        self._store.handling._piece(action, [row], Counter[Subject](), Counter[Any]())

    def _started(self) -> Store:
        return stepped_store(self.disk, self.clock, self._settings, self._acknowledge)

    def _acknowledge(self, handles: Sequence[AckHandle]) -> None:
        self.acked += [handle.message_id for handle in handles]

    def _decided(self, record: Record) -> Decided:
        publish = Publish(self._store.new_row(), BROKER, "press/inference", _event(record), 1, expiry_s=record.expiry_s)
        status = "provisional" if record.is_escalated else "final"
        asked = replace(escalation(record.prediction_id), input_digest=record.input_digest)
        return Decided(
            record.prediction_id,
            BINDING,
            "a",
            status,
            publish,
            asked if record.is_escalated else None,
            ItemClass.ESCALATION,
        )

    def _flush(self) -> None:
        """What the session has said goes on its way."""
        session, stream = self._session, self.stream
        if session is None or stream is None:
            return
        while not session._stream._outgoing.empty():
            wire = session._stream._outgoing.get()
            if wire is not None and not stream.is_cut:
                stream.to_hub.put(wire)


def _event(record: Record) -> bytes:
    """Revision 0, as the pipeline publishes it."""
    outcome = Outcome.QUEUED if record.is_escalated else Outcome.NONE
    event = {
        "schema": "edge.prediction/1",
        "id": record.prediction_id,
        "binding": BINDING,
        "ts": "2026-11-21T08:00:00.000Z",
        "window": {"start": "2026-11-21T07:59:59.000Z", "end": "2026-11-21T08:00:00.000Z"},
        "status": "provisional" if record.is_escalated else "final",
        "revision": 0,
        "tier": "edge",
        "output": {"task": "classification", "label": "ok", "scores": {"ok": 0.6, "worn": 0.4}},
        "confidence": 0.6,
        "escalation": {"reason": "low_confidence" if record.is_escalated else None, "outcome": outcome.value},
        "models": [{"pack": MODEL.pack, "digest": MODEL.digest, "role": "active"}],
        "certificate": None,
        "latency_ms": 1.0,
    }
    return json.dumps(event).encode()
