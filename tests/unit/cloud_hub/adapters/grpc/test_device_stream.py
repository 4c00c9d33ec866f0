"""One stream against a store that misbehaves on purpose."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from cloud_hub.adapters.grpc.device_stream import VERDICT_PAGE, DeviceStream, StreamParts
from cloud_hub.admission import Admission
from cloud_hub.core.delivery import Apply, Delivery
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.waiting_room import WaitingRoom
from cloud_hub.errors import HelloLateError, StorageError, StreamOrderError
from cloud_hub.metrics import HubMetrics
from cloud_hub.ports import Answer, Delivered, FullModel, OpenedSession, WaitingItem
from model_packs.manifest import PackManifest
from model_packs.process.metrics import Registry
from protos.codec.escalation import request_to_wire, response_from_wire
from protos.messages.escalation import (
    EARLY_VERDICTS,
    NOT_LOGGED,
    Ack,
    Credit,
    EscalateRequest,
    EscalateResponse,
    GoAway,
    Hello,
    HubIncarnation,
    Item,
    ItemClass,
    PredictionId,
    Reject,
    Verdict,
    VerdictAck,
    Welcome,
)
from protos.messages.inference import Tier
from protos.status import Status
from protos.tandem.v1 import escalation_pb2 as pb
from tests.simulators.hub_device import hello, question
from tests.simulators.loops import in_loop
from tests.simulators.packs import build_tiny

PRESS = DeviceKey("o", "s", "press-07")


class FakeStore:
    """A log in memory; applying can be made to fail."""

    def __init__(self) -> None:
        self.log: list[Verdict] = []
        self.reads = 0
        self.is_full = False
        self.waiting_counts: dict[DeviceKey, int] = {}
        self.acknowledged: list[int] = []
        self.has_acknowledged = asyncio.Event()

    async def open_session(self, device: DeviceKey, hello: Hello, now_ns: int) -> OpenedSession:
        """The first."""
        assert (device, now_ns) == (PRESS, 42)
        assert hello.store_id
        return OpenedSession(1, (), HubIncarnation("h"), is_restored=False)

    async def apply(self, device: DeviceKey, items: Sequence[Delivered], now_ns: int) -> tuple[Delivery, ...]:
        """Take everything, or nothing."""
        assert (device, now_ns) == (PRESS, 42)
        if self.is_full:
            raise StorageError("the disk is full")
        return tuple(Apply() for _ in items)

    async def verdicts(self, device: DeviceKey, after_seq: int, limit: int) -> tuple[Verdict, ...]:
        """From the log."""
        assert device == PRESS
        self.reads += 1
        return tuple(verdict for verdict in self.log if verdict.verdict_seq > after_seq)[:limit]

    async def acknowledge(self, device: DeviceKey, verdict_seq: int) -> None:
        """Remember."""
        assert device == PRESS
        self.acknowledged.append(verdict_seq)
        self.has_acknowledged.set()

    async def waiting_by_device(self) -> Mapping[DeviceKey, int]:
        """As the test says."""
        return self.waiting_counts

    async def waiting(self, limit: int, except_packs: Collection[str] = ()) -> tuple[WaitingItem, ...]:
        """Not asked here."""
        raise AssertionError(limit, except_packs)

    async def answer(self, answers: Sequence[Answer]) -> tuple[tuple[DeviceKey, Verdict], ...]:
        """Not asked here."""
        raise AssertionError(answers)


class FakeModel:
    """Declares its inputs and runs nothing."""

    def __init__(self, manifest: PackManifest) -> None:
        self.manifest = manifest
        self.digest = ""
        self.is_quick = True

    def run(self, inputs: Any) -> dict[str, Any]:  # noqa: ANN401 - arrays
        """Not asked here."""
        raise AssertionError(inputs)


class FakeModels:
    """Knows one model."""

    def __init__(self, model: FakeModel) -> None:
        self._model = model

    async def find(self, pack: str) -> FullModel:
        """It."""
        assert pack
        return self._model


class FakeEarly:
    """Answers every question at once, in a turn of the loop, or, when it is slow, as soon as it is let."""

    def __init__(self, *, is_slow: bool, seems_quick: bool = False, is_at_once: bool = False) -> None:
        self._is_slow = is_slow
        self._seems_quick = seems_quick
        self._is_at_once = is_at_once
        self.may_answer = asyncio.Event()

    def is_quick(self, hub_pack: str) -> bool:
        """As the test says."""
        assert hub_pack
        return self._seems_quick or not self._is_slow

    def ask(self, device: DeviceKey, item: Item) -> Verdict | Coroutine[Any, Any, Verdict | None]:
        """One that says nothing."""
        assert device == PRESS
        body = item.body
        said = Verdict(NOT_LOGGED, body.prediction_id, body.input_digest, 1, Tier.HUB, None, 0.0, (), 1, 1.0)
        return said if self._is_at_once else self._later(said)

    async def _later(self, said: Verdict) -> Verdict:
        if self._is_slow:
            await self.may_answer.wait()
        return said


class Wire:
    """Both directions of a stream in memory."""

    def __init__(
        self, store: FakeStore, manifest: PackManifest, hello_s: float = 60.0, early: FakeEarly | None = None
    ) -> None:
        self._to_hub: asyncio.Queue[pb.EscalateRequest | None] = asyncio.Queue()
        self._from_hub: asyncio.Queue[EscalateResponse] = asyncio.Queue()
        parts = StreamParts(
            store,
            FakeModels(FakeModel(manifest)),
            Admission(store, WaitingRoom(3, 100), lambda: 0.0),
            lambda: None,
            HubMetrics(Registry()),
            lambda: 42,
            Credit(64, 1 << 20),
            hello_s,
            early,
        )
        self.stream = DeviceStream(PRESS, parts, self._requests(), self._send)

    async def _requests(self) -> AsyncIterator[pb.EscalateRequest]:
        while (request := await self._to_hub.get()) is not None:
            yield request

    async def _send(self, response: pb.EscalateResponse) -> None:
        self._from_hub.put_nowait(response_from_wire(response))

    def say(self, *requests: EscalateRequest) -> None:
        """Send messages."""
        for request in requests:
            self._to_hub.put_nowait(request_to_wire(request))

    def say_raw(self, request: pb.EscalateRequest | None) -> None:
        """Send a message as it is; None half-closes."""
        self._to_hub.put_nowait(request)

    async def hear(self) -> EscalateResponse:
        """The next message."""
        async with asyncio.timeout(10.0):
            return await self._from_hub.get()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> PackManifest:
    """A full model that takes windows of 5 samples with 2 channels."""
    return build_tiny(tmp_path_factory.mktemp("pack"), name="tiny-hub", role="hub", escalates_to=None).manifest


def verdict(seq: int) -> Verdict:
    """A verdict at a place in the log."""
    return Verdict(seq, PredictionId(f"p{seq}"), "d", 1, Tier.HUB, None, 0.0, (), 1, 1.0)


def served(manifest: PackManifest, scenario: Callable[[Wire, FakeStore, "asyncio.Task[None]"], Any]) -> None:
    """Open a stream, serve it beside the scenario, and end it."""

    @in_loop
    async def run() -> None:
        store = FakeStore()
        wire = Wire(store, manifest)
        wire.say(hello())
        await wire.stream.open()
        serving = asyncio.create_task(wire.stream.serve())
        assert isinstance(await wire.hear(), Welcome)
        await scenario(wire, store, serving)

    run()


def test_verdicts_come_in_order_whether_rung_or_read(manifest: PackManifest) -> None:
    """What is rung right after the cursor is sent without a read; after a gap, or too much, the log is read."""

    async def scenario(wire: Wire, store: FakeStore, serving: "asyncio.Task[None]") -> None:
        store.log = [verdict(seq) for seq in range(1, 4 * VERDICT_PAGE)]
        wire.stream.ring(store.log[1])
        heard = [await wire.hear() for _ in store.log]
        assert heard == store.log
        reads = store.reads
        following = [verdict(4 * VERDICT_PAGE), verdict(4 * VERDICT_PAGE + 1)]
        store.log += following
        for said in following:
            wire.stream.ring(said)
        assert [await wire.hear(), await wire.hear()] == following
        assert store.reads == reads
        flood = [verdict(4 * VERDICT_PAGE + 2 + number) for number in range(2 * VERDICT_PAGE)]
        store.log += flood
        for said in flood:
            wire.stream.ring(said)
        assert [await wire.hear() for _ in flood] == flood
        wire.say_raw(None)
        await serving

    served(manifest, scenario)


def test_what_is_not_stored_is_not_acknowledged(manifest: PackManifest) -> None:
    """When the database refuses, the stream ends with GoAway and a time to come back; the item stays the device's."""

    async def scenario(wire: Wire, store: FakeStore, serving: "asyncio.Task[None]") -> None:
        window = np.zeros((1, 5, 2), np.float32)
        wire.say(question(1, window))
        assert isinstance(await wire.hear(), Ack)
        store.is_full = True
        wire.say(question(2, window))
        farewell = await wire.hear()
        assert isinstance(farewell, GoAway)
        assert "disk is full" in farewell.reason
        assert farewell.retry_after_ms > 0
        await serving

    served(manifest, scenario)


def test_what_finds_no_place_is_pushed_back(manifest: PackManifest) -> None:
    """The device is told when to come again; what has a place is stored, and the stream goes on."""

    async def scenario(wire: Wire, store: FakeStore, serving: "asyncio.Task[None]") -> None:
        store.waiting_counts = {PRESS: 2}
        window = np.zeros((1, 5, 2), np.float32)
        wire.say(question(1, window))
        assert await wire.hear() == Ack(ItemClass.ESCALATION, ((1, 1),))
        wire.say(question(2, window))
        pushed = await wire.hear()
        assert isinstance(pushed, Reject)
        assert (pushed.seq, pushed.status, pushed.retry_after_ms) == (2, Status.RESOURCE_EXHAUSTED, 5000)
        wire.say_raw(None)
        await serving

    served(manifest, scenario)


@in_loop
@pytest.mark.parametrize(
    ("is_slow", "seems_quick", "is_at_once"),
    [(False, False, True), (False, False, False), (True, False, False), (True, True, False)],
)
async def test_a_live_question_is_answered_before_it_is_stored(
    manifest: PackManifest,
    *,
    is_slow: bool,
    seems_quick: bool,
    is_at_once: bool,
) -> None:
    """A quick model is waited for; a slow one holds up neither the item nor its acknowledgement."""
    early = FakeEarly(is_slow=is_slow, seems_quick=seems_quick, is_at_once=is_at_once)
    wire = Wire(FakeStore(), manifest, early=early)
    wire.say(replace(hello(), capabilities=(EARLY_VERDICTS,)))
    await wire.stream.open()
    serving = asyncio.create_task(wire.stream.serve())
    assert isinstance(await wire.hear(), Welcome)
    asked = question(1, np.zeros((1, 5, 2), np.float32))
    wire.say(asked)
    heard = [await wire.hear()]
    early.may_answer.set()
    heard.append(await wire.hear())
    assert [type(one) for one in heard] == ([Ack, Verdict] if is_slow else [Verdict, Ack])
    (said,) = [one for one in heard if isinstance(one, Verdict)]
    assert (said.verdict_seq, said.prediction_id) == (NOT_LOGGED, asked.body.prediction_id)
    wire.say(question(1, np.zeros((1, 5, 2), np.float32), item_class=ItemClass.AUDIT))
    assert await wire.hear() == Ack(ItemClass.AUDIT, ((1, 1),)), "nobody waits for an audit"
    wire.say_raw(None)
    await serving


def test_the_cursor_is_stored_at_the_end_at_the_latest(manifest: PackManifest) -> None:
    """The first time at once, then a few times a second; what was confirmed last is not lost with the stream."""

    async def scenario(wire: Wire, store: FakeStore, serving: "asyncio.Task[None]") -> None:
        wire.say(VerdictAck(1))
        async with asyncio.timeout(30.0):
            await store.has_acknowledged.wait()
        wire.say(VerdictAck(2), VerdictAck(3))
        wire.say_raw(None)
        await serving
        assert (store.acknowledged[0], store.acknowledged[-1]) == (1, 3)

    served(manifest, scenario)


@in_loop
async def test_a_device_that_knows_no_early_verdicts_is_told_none(manifest: PackManifest) -> None:
    """It would not know what to make of one."""
    wire = Wire(FakeStore(), manifest, early=FakeEarly(is_slow=False))
    wire.say(hello())
    await wire.stream.open()
    serving = asyncio.create_task(wire.stream.serve())
    assert isinstance(await wire.hear(), Welcome)
    wire.say(question(1, np.zeros((1, 5, 2), np.float32)))
    assert isinstance(await wire.hear(), Ack)
    wire.say_raw(None)
    await serving


@pytest.mark.parametrize(
    "nonsense",
    [
        pb.EscalateRequest(),
        pb.EscalateRequest(item=pb.Item(item_class=cast("pb.ItemClass", 99), seq=1)),
        request_to_wire(hello()),
    ],
)
def test_a_message_that_names_no_item_ends_the_stream(manifest: PackManifest, nonsense: pb.EscalateRequest) -> None:
    """What cannot be rejected by its place, and a second Hello, are faults of the stream."""

    async def scenario(wire: Wire, _store: FakeStore, serving: "asyncio.Task[None]") -> None:
        wire.say_raw(nonsense)
        with pytest.raises(StreamOrderError):
            await serving

    served(manifest, scenario)


@pytest.mark.parametrize("first", [None, pb.EscalateRequest()])
def test_a_stream_must_begin_with_hello(manifest: PackManifest, first: pb.EscalateRequest | None) -> None:
    """An empty stream and an unreadable first message are named as such."""

    @in_loop
    async def run() -> None:
        wire = Wire(FakeStore(), manifest)
        wire.say_raw(first)
        with pytest.raises(StreamOrderError, match="Hello"):
            await wire.stream.open()

    run()


def test_a_stream_that_says_nothing_ends(manifest: PackManifest) -> None:
    """It holds no place at the hub for longer than a Hello takes."""

    @in_loop
    async def run() -> None:
        with pytest.raises(HelloLateError):
            await Wire(FakeStore(), manifest, hello_s=0.01).stream.open()

    run()
