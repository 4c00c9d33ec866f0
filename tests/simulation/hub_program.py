"""Owns the simulated hub: streams, intake, answers and people around a database, one step at a time.

It does what `cloud_hub/adapters/grpc/device_stream.py`, `streams.py` and the answerer do, in their order and with their
crash points, but without tasks: who comes next is the scheduler's. What is decided is the database's and the cores'.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from cloud_hub.core.delivery import AlreadyApplied, Apply, Conflict, ItemKey, PlaceTaken, Question, ranges
from cloud_hub.core.feedback import LabelGiven
from cloud_hub.core.waiting_room import WaitingRoom
from cloud_hub.ports import Answer, Delivered, WaitingItem
from model_packs.outputs import Classification
from model_packs.process.crash_points import CrashPoint, crash_point
from protos.codec.escalation import escalation_to_bytes, request_from_wire, response_to_wire
from protos.messages.escalation import (
    Ack,
    Credit,
    EscalateResponse,
    GoAway,
    Hello,
    Item,
    ItemClass,
    PredictionId,
    Reject,
    StoreId,
    VerdictAck,
    Welcome,
)
from protos.messages.feedback import FeedbackBatch, FeedbackReceipt
from protos.messages.inference import ModelUse, Tier
from protos.status import Status
from tests.simulation.hub_database import DEVICE, HubDatabase
from tests.simulation.network import Stream
from tests.unit.edge_agent.adapters.sqlite.builders import TestClock

CREDIT = Credit(4, 1 << 20)
LABELS = ("ok", "worn")

_ROOM = WaitingRoom(per_device=3, in_all=3)
_PAGE = 3
_NO_STORE = StoreId("")
_RETRY_FULL_MS = 5000
_RETRY_PACK_MS = 30_000
_MODEL = (ModelUse("bearing-hub@1.0.0", "sha256:" + "3" * 64),)


@dataclass(eq=False, slots=True)
class Served:
    """One stream as the hub has it; `epoch` 0 until its Hello was read."""

    stream: Stream
    epoch: int = 0
    store_id: StoreId = _NO_STORE
    cursor: int = 0
    is_leaving: bool = False


class HubProgram:
    """One life after another over one database.

    Args:
        database: What outlives them.
        clock: The hub's.
    """

    def __init__(self, database: HubDatabase, clock: TestClock) -> None:
        self.database = database
        self.clock = clock
        self.has_packs = True
        self.served: list[Served] = []
        self._scored: list[Answer] = []

    @property
    def current(self) -> Served | None:
        """The device's newest stream."""
        return max((one for one in self.served if one.epoch and not one.is_leaving), key=_epoch, default=None)

    @property
    def has_scored(self) -> bool:
        """Whether answers are ready to be logged."""
        return bool(self._scored)

    def connect(self, stream: Stream) -> None:
        """A device dials."""
        self.served.append(Served(stream))

    def crash(self) -> None:
        """Lose everything but the database."""
        for one in self.served:
            one.stream.is_cut = True
            one.stream.to_device.cut(0)
        self.served, self._scored = [], []

    def listen(self, one: Served, rng: random.Random | None, count: int) -> None:
        """Read up to so many messages; items among them are stored in one transaction."""
        items: list[Item] = []
        while count > 0 and len(one.stream.to_hub):
            count -= 1
            match request_from_wire(one.stream.to_hub.take(rng)):
                case Hello() as hello:
                    self._greet(one, hello)
                case Item() as item:
                    items.append(item)
                case VerdictAck(verdict_seq):
                    self.database.acknowledge(verdict_seq)
        if items:
            self._store(one, items)
        if (one.is_leaving or one.stream.is_cut) and not len(one.stream.to_hub):
            self.served.remove(one)

    def tell(self, one: Served) -> bool:
        """Send the next page of the verdict log; False at its end."""
        page = self.database.verdicts(one.cursor, _PAGE)
        for verdict in page:
            self._send(one, verdict)
            one.cursor = verdict.verdict_seq
        return bool(page)

    def score(self) -> bool:
        """Let the full model answer some of what waits, if something does; nothing is logged yet."""
        self._scored = [self._answer(item) for item in self.database.waiting(_PAGE)]
        if self._scored:
            crash_point(CrashPoint.HUB_SCORED)
        return bool(self._scored)

    def log(self) -> None:
        """Log what was scored."""
        scored, self._scored = self._scored, []
        self.database.answer(scored)
        crash_point(CrashPoint.HUB_ANSWERED)

    def label(self, prediction_id: PredictionId, label: str, by: str) -> bool:
        """A person at the console labels a case; False where there is none."""
        return self.database.label(LabelGiven(DEVICE, prediction_id, label, by, "", self.clock.wall)) is not None

    def receive_feedback(self, batch: FeedbackBatch) -> FeedbackReceipt:
        """What people at the device say comes in."""
        return self.database.receive_feedback(batch, self.clock.wall).receipt

    def restored(self, copy: object, *, is_told: bool) -> None:
        """Come back on an older copy of the database, with or without `cloud-hub restored`."""
        self.crash()
        self.database.put_back(copy)
        if is_told:
            self.database.renew_incarnation(self.clock.wall)

    def _greet(self, one: Served, hello: Hello) -> None:
        opened = self.database.open_session(hello, self.clock.wall)
        before = self.current
        one.epoch, one.store_id, one.cursor = opened.epoch, hello.store_id, hello.verdict_cursor
        self._send(one, Welcome(opened.epoch, opened.incarnation, opened.applied, CREDIT, self.clock.wall))
        if opened.is_restored:
            for other in self.served:
                if other is not one and other.epoch:
                    self._send_away(other, "the hub's database was put back from a backup")
        elif before is not None:
            self._send_away(before, "superseded")

    def _send_away(self, one: Served, reason: str) -> None:
        one.is_leaving = True
        self._send(one, GoAway(reason))

    def _store(self, one: Served, items: Sequence[Item]) -> None:
        if not self.has_packs:
            for item in items:
                reject = Reject(
                    item.item_class, item.seq, Status.FAILED_PRECONDITION, "the pack is not here", _RETRY_PACK_MS
                )
                self._send(one, reject)
            return
        waiting = self.database.waiting_count()
        places = _ROOM.places(waiting, waiting)
        for item in items[places:]:
            full = Reject(item.item_class, item.seq, Status.RESOURCE_EXHAUSTED, "no place", _RETRY_FULL_MS)
            self._send(one, full)
        accepted = [_delivered(one.store_id, item) for item in items[:places]]
        if not accepted:
            return
        crash_point(CrashPoint.HUB_RECEIVED)
        decided = self.database.apply(accepted, self.clock.wall)
        crash_point(CrashPoint.HUB_APPLIED)
        durable: dict[ItemClass, list[int]] = {}
        for delivered, delivery in zip(accepted, decided, strict=True):
            key = delivered.key
            match delivery:
                case Conflict(reason):
                    self._send(one, Reject(key.item_class, key.seq, Status.ALREADY_EXISTS, reason))
                case PlaceTaken(reason):
                    self._send(one, Reject(key.item_class, key.seq, Status.ABORTED, reason))
                case Apply() | AlreadyApplied():
                    durable.setdefault(key.item_class, []).append(key.seq)
        for item_class, seqs in durable.items():
            self._send(one, Ack(item_class, ranges(seqs)))

    def _send(self, one: Served, message: EscalateResponse) -> None:
        if not one.stream.is_cut:
            one.stream.to_device.put(response_to_wire(message))

    def _answer(self, item: WaitingItem) -> Answer:
        label = full_models_label(item.question.prediction_id)
        output = None if label is None else Classification(label, {label: 0.9})
        return Answer(item, Tier.HUB, output, None, 0.0 if label is None else 0.9, _MODEL, self.clock.wall, 1.0)


def full_models_label(prediction_id: PredictionId) -> str | None:
    """What the full model says of a window, the same each time; None: it cannot score it."""
    number = int(prediction_id.removeprefix("p"))
    return None if number % 7 == 0 else LABELS[number % 2]


def _epoch(one: Served) -> int:
    return one.epoch


def _delivered(store_id: StoreId, item: Item) -> Delivered:
    return Delivered(
        key=ItemKey(store_id, item.item_class, item.seq),
        question=Question(item.body.prediction_id, item.body.input_digest),
        hub_pack=item.body.hub_pack,
        payload=escalation_to_bytes(item.body),
        escalation=item.body,
        low_water=item.low_water,
    )
