"""Owns one escalation stream: what arrives is stored and acknowledged, what is logged for the device is sent.

Who the device is (`gate.py`), which stream of a device counts (`streams.py`) and how questions are answered
(`adapters/engine/answerer.py`) are decided elsewhere. Five tasks share a stream; no direction waits for another:

    reader   wire → inbox                     intake   inbox → one transaction → acks, rejects
    pump     verdict log from the cursor →    confirm  the device's verdict cursor → store
    writer   outbox → wire
"""

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cloud_hub.adapters.grpc.gate import HELLO_S
from cloud_hub.admission import Admission
from cloud_hub.core.delivery import AlreadyApplied, Apply, Conflict, Delivery, ItemKey, PlaceTaken, Question, ranges
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.questions import MAX_SEQ, check_hello, check_inputs, check_item
from cloud_hub.errors import (
    HelloLateError,
    HubError,
    PackUnavailableError,
    PlaceTakenError,
    QuestionChangedError,
    QuestionInvalidError,
    StorageError,
    StreamOrderError,
    WaitingRoomFullError,
    WireVersionError,
)
from cloud_hub.metrics import HubMetrics
from cloud_hub.ports import Clock, Delivered, EscalationStore, FullModels
from model_packs.process.crash_points import CrashPoint, crash_point
from protos.codec.errors import CodecError
from protos.codec.escalation import escalation_to_bytes, request_from_wire, response_to_wire
from protos.messages.escalation import (
    EARLY_VERDICTS,
    WIRE_VERSION,
    Ack,
    Credit,
    EscalateResponse,
    GoAway,
    Hello,
    Item,
    ItemClass,
    Reject,
    StoreId,
    Verdict,
    VerdictAck,
    Welcome,
)
from protos.tandem.v1 import escalation_pb2 as pb

logger = logging.getLogger(__name__)

VERDICT_PAGE = 64
"""Verdicts read from the log at once."""

EARLY_PATIENCE_S = 0.01
"""So long a question waits for its early answer before it is stored, where the model is quick as a rule."""

CONFIRM_PAUSE_S = 0.25
"""Between two times that a device's cursor is stored: each shares a commit with an item, and makes it longer."""

OUTBOX_MESSAGES = 256
RETRY_STORAGE_MS = 1000
RETRY_PACK_MS = 30_000
RETRY_FULL_MS = 5000

Send = Callable[[pb.EscalateResponse], Awaitable[None]]


class Early(Protocol):
    """Answers what has come before it is stored (`adapters/engine/early.py`)."""

    def is_quick(self, hub_pack: str) -> bool:
        """Whether one may wait for an answer of this pack."""

    def ask(self, device: DeviceKey, item: Item) -> Verdict | Coroutine[Any, Any, Verdict | None] | None:
        """The answer, or what to wait for to have it; None when there is none to be had now."""


@dataclass(frozen=True, slots=True)
class StreamParts:
    """What every stream of the hub shares.

    Attributes:
        admission: Lets items in.
        wake_answerer: Called after something was stored.
        credit: What a device may have unacknowledged.
        hello_s: How long a stream may stay without its Hello.
        early: Answers what has come before it is stored, where the device takes such answers; None: nobody does.
    """

    store: EscalationStore
    models: FullModels
    admission: Admission
    wake_answerer: Callable[[], None]
    metrics: HubMetrics
    clock: Clock
    credit: Credit
    hello_s: float = HELLO_S
    early: Early | None = None


class DeviceStream:
    """One stream of one device, from Hello to its end.

    Args:
        device: Whose it is.
        parts: What all streams share.
        requests: Messages as they arrive.
        send: Sends one message; waits for flow control.

    Attributes:
        found_restore: Its Hello gave the hub's database away as an older copy; set by `open`.
    """

    def __init__(
        self, device: DeviceKey, parts: StreamParts, requests: AsyncIterable[pb.EscalateRequest], send: Send
    ) -> None:
        self.device = device
        self.epoch = 0
        self.found_restore = False
        self._parts = parts
        self._requests = aiter(requests)
        self._send = send
        self._store_id = StoreId("")
        self._takes_early = False
        self._early: set[asyncio.Task[Verdict | None]] = set()
        self._cursor = 0
        self._confirmed = 0
        self._inbox: asyncio.Queue[Item | None] = asyncio.Queue(parts.credit.items)
        self._inbox_bytes = 0
        self._inbox_emptied = asyncio.Event()
        self._outbox: asyncio.Queue[EscalateResponse | None] = asyncio.Queue(OUTBOX_MESSAGES)
        self._log_grew = asyncio.Event()
        self._fresh: list[Verdict] = []
        self._cursor_moved = asyncio.Event()
        self._ending: asyncio.Future[GoAway | HubError | None] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Read Hello, start the session, and queue Welcome.

        Raises:
            StreamOrderError: The stream ends, or begins with something else.
            HelloLateError: Nothing was said in time.
            WireVersionError: The agent speaks another version.
            QuestionInvalidError: A part of Hello is larger than the tables hold.
            StorageError: The database refused.
        """
        try:
            async with asyncio.timeout(self._parts.hello_s):
                hello = request_from_wire(await anext(self._requests))
        except TimeoutError as error:
            raise HelloLateError(self._parts.hello_s) from error
        except StopAsyncIteration as error:
            raise StreamOrderError("the stream ended before Hello") from error
        except CodecError as error:
            raise StreamOrderError(f"the first message must be Hello: {error}") from error
        if not isinstance(hello, Hello):
            raise StreamOrderError("the first message must be Hello")
        if hello.wire_version != WIRE_VERSION:
            raise WireVersionError(hello.wire_version, WIRE_VERSION)
        check_hello(hello)
        opened = await self._parts.store.open_session(self.device, hello, self._parts.clock())
        self.epoch = opened.epoch
        self.found_restore = opened.is_restored
        self._store_id = hello.store_id
        self._takes_early = EARLY_VERDICTS in hello.capabilities
        self._cursor = self._confirmed = hello.verdict_cursor
        self._outbox.put_nowait(
            Welcome(
                session_epoch=opened.epoch,
                hub_incarnation=opened.incarnation,
                applied=opened.applied,
                credit=self._parts.credit,
                hub_time_ns=self._parts.clock(),
            )
        )

    async def serve(self) -> None:
        """Serve until the device half-closes or the stream is sent away; what has arrived is stored and acked first.

        Raises:
            HubError: The device broke the protocol.
        """
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(self._read(), name=f"reader {self.device}")
            intake = tasks.create_task(self._take_in(), name=f"intake {self.device}")
            pump = tasks.create_task(self._pump(), name=f"pump {self.device}")
            confirm = tasks.create_task(self._confirm(), name=f"confirm {self.device}")
            tasks.create_task(self._write(), name=f"writer {self.device}")
            ending = await self._ending
            reader.cancel()
            for task in tuple(self._early):
                task.cancel()
            await self._inbox.put(None)
            await intake
            pump.cancel()
            confirm.cancel()
            if self._cursor_moved.is_set():
                tasks.create_task(self._confirm_now(), name=f"last confirm {self.device}")
            if isinstance(ending, GoAway):
                await self._outbox.put(ending)
            await self._outbox.put(None)
        if isinstance(ending, HubError):
            raise ending

    def ring(self, verdict: Verdict) -> None:
        """The device's verdict log has grown; what follows right on the cursor need not be read back from it."""
        if len(self._fresh) < VERDICT_PAGE:
            self._fresh.append(verdict)
        self._log_grew.set()

    def send_away(self, farewell: GoAway) -> None:
        """End the stream after what has arrived is stored and acknowledged."""
        self._end(farewell)

    def _end(self, how: GoAway | HubError | None) -> None:
        if not self._ending.done():
            self._ending.set_result(how)

    def _end_for_storage(self, error: StorageError) -> None:
        logger.warning("escalation_storage_failed", extra={"device": str(self.device), "reason": str(error)})
        self._end(GoAway(reason=str(error), retry_after_ms=RETRY_STORAGE_MS))

    async def _read(self) -> None:
        async for wire in self._requests:
            try:
                request = request_from_wire(wire)
            except CodecError as error:
                if not await self._reject_undecodable(wire, error):
                    self._end(StreamOrderError(f"a message cannot be read: {error}"))
                    return
                continue
            match request:
                case Item():
                    await self._answer_early(request)
                    await self._admit(request, wire.ByteSize())
                case VerdictAck():
                    self._confirmed = max(self._confirmed, min(request.verdict_seq, MAX_SEQ))
                    self._cursor_moved.set()
                case Hello():
                    self._end(StreamOrderError("Hello comes once, at the start of a stream"))
                    return
        self._end(None)

    async def _admit(self, item: Item, size_bytes: int) -> None:
        """Take an item in; past the credit the wire is not read, and its flow control holds the device."""
        self._inbox_bytes += size_bytes
        self._inbox_emptied.clear()
        await self._inbox.put(item)
        while self._inbox_bytes >= self._parts.credit.bytes:
            await self._inbox_emptied.wait()

    async def _reject_undecodable(self, wire: pb.EscalateRequest, error: CodecError) -> bool:
        """Name the item that cannot be read; False if it is no item, or its own place cannot be read."""
        if wire.WhichOneof("kind") != "item" or wire.item.seq == 0:
            return False
        try:
            item_class = ItemClass(wire.item.item_class)
        except ValueError:
            return False
        await self._reject(item_class, wire.item.seq, QuestionInvalidError(str(error)))
        return True

    async def _take_in(self) -> None:
        is_last = False
        while not is_last:
            arrived = [await self._inbox.get()]
            while not self._inbox.empty():
                arrived.append(self._inbox.get_nowait())
            is_last = None in arrived
            self._inbox_bytes = 0
            self._inbox_emptied.set()
            try:
                await self._store([item for item in arrived if item is not None])
            except StorageError as error:  # not acknowledged, so the device sends it again
                self._end_for_storage(error)

    async def _store(self, items: Iterable[Item]) -> None:
        """Store what may be stored, in one transaction; answer for each item."""
        sound = [delivered for item in items if (delivered := await self._accepted(item)) is not None]
        if not sound:
            return
        places = await self._parts.admission.admit(self.device, len(sound))
        accepted = sound[:places]
        await self._push_back(sound[places:])
        if not accepted:
            return
        crash_point(CrashPoint.HUB_RECEIVED)
        decided = await self._parts.store.apply(self.device, accepted, self._parts.clock())
        crash_point(CrashPoint.HUB_APPLIED)
        self._parts.wake_answerer()
        await self._acknowledge(accepted, decided)

    async def _answer_early(self, item: Item) -> None:
        """Answer a question that somebody waits for, before it is stored: not an audit, and none behind a backlog."""
        early = self._parts.early
        is_live = self._takes_early and item.item_class is ItemClass.ESCALATION and self._inbox.empty()
        if early is None or not is_live:
            return
        said = early.ask(self.device, item)
        if said is None or isinstance(said, Verdict):
            self._say_early(said)
            await asyncio.sleep(0)  # the writer goes first
            return
        task = asyncio.create_task(said, name=f"early {self.device}")
        self._early.add(task)
        task.add_done_callback(self._say_later)
        if early.is_quick(item.body.hub_pack):  # a model that is stuck all the same holds up no acknowledgement
            await asyncio.wait({task}, timeout=EARLY_PATIENCE_S)

    def _say_later(self, task: asyncio.Task[Verdict | None]) -> None:
        self._early.discard(task)
        if not task.cancelled():
            self._say_early(task.result())

    def _say_early(self, verdict: Verdict | None) -> None:
        if verdict is not None and self._outbox.empty() and not self._ending.done():  # else the log says it soon
            self._outbox.put_nowait(verdict)

    async def _push_back(self, items: Sequence[Delivered]) -> None:
        """Leave these with the device: there is no place where they could wait."""
        if items:
            extra = {"device": str(self.device), "items": len(items)}
            logger.warning("items_pushed_back", extra=extra)
        error = WaitingRoomFullError()
        for key in (one.key for one in items):
            self._count(key.item_class, "pushed_back")
            await self._outbox.put(Reject(key.item_class, key.seq, error.status, str(error), RETRY_FULL_MS))

    async def _accepted(self, item: Item) -> Delivered | None:
        """The item on its way into the store; None when it was rejected."""
        try:
            check_item(item)
            model = await self._parts.models.find(item.body.hub_pack)
            check_inputs(item.body, model.manifest)
        except PackUnavailableError as error:
            await self._reject(item.item_class, item.seq, error, RETRY_PACK_MS)
            return None
        except QuestionInvalidError as error:
            await self._reject(item.item_class, item.seq, error)
            return None
        return Delivered(
            key=ItemKey(self._store_id, item.item_class, item.seq),
            question=Question(item.body.prediction_id, item.body.input_digest),
            hub_pack=item.body.hub_pack,
            payload=escalation_to_bytes(item.body),
            escalation=item.body,
            low_water=item.low_water,
        )

    async def _acknowledge(self, items: Sequence[Delivered], decided: Sequence[Delivery]) -> None:
        durable: dict[ItemClass, list[int]] = {}
        for item, delivery in zip(items, decided, strict=True):
            key = item.key
            match delivery:
                case Conflict(reason):
                    await self._reject(key.item_class, key.seq, QuestionChangedError(reason))
                    continue
                case PlaceTaken(reason):
                    await self._reject(key.item_class, key.seq, PlaceTakenError(reason))
                    continue
                case Apply():
                    outcome = "applied"
                case AlreadyApplied(is_new_key):
                    outcome = "repeated"
                    if is_new_key:
                        self._log_grew.set()
            self._count(key.item_class, outcome)
            durable.setdefault(key.item_class, []).append(key.seq)
        for item_class, seqs in durable.items():
            await self._outbox.put(Ack(item_class, ranges(seqs)))

    async def _reject(self, item_class: ItemClass, seq: int, error: HubError, retry_after_ms: int = 0) -> None:
        self._count(item_class, "rejected")
        extra = {"device": str(self.device), "item_class": item_class.name, "seq": seq, "reason": str(error)}
        logger.warning("item_rejected", extra=extra)
        await self._outbox.put(Reject(item_class, seq, error.status, str(error), retry_after_ms))

    def _count(self, item_class: ItemClass, outcome: str) -> None:
        self._parts.metrics.items.labels(item_class.name.lower(), outcome).inc()

    async def _pump(self) -> None:
        try:
            while True:
                self._log_grew.clear()
                page = self._taken_fresh() or await self._parts.store.verdicts(self.device, self._cursor, VERDICT_PAGE)
                for verdict in page:
                    await self._outbox.put(verdict)
                    self._cursor = verdict.verdict_seq
                if len(page) < VERDICT_PAGE:
                    await self._log_grew.wait()
        except StorageError as error:
            self._end_for_storage(error)

    def _taken_fresh(self) -> Sequence[Verdict]:
        """What was rung, if it follows on the cursor without a gap; else nothing, and the log has it all."""
        fresh, self._fresh = self._fresh, []
        follows = [verdict.verdict_seq for verdict in fresh] == [self._cursor + 1 + n for n in range(len(fresh))]
        return fresh if follows else ()

    async def _confirm(self) -> None:
        while True:
            await self._cursor_moved.wait()
            await self._confirm_now()
            await asyncio.sleep(CONFIRM_PAUSE_S)

    async def _confirm_now(self) -> None:
        self._cursor_moved.clear()
        try:
            await self._parts.store.acknowledge(self.device, self._confirmed)
        except StorageError as error:
            self._end_for_storage(error)

    async def _write(self) -> None:
        while (response := await self._outbox.get()) is not None:
            await self._send(response_to_wire(response))
