"""What waits is answered in batches; what cannot be answered is said so; nothing is lost on the way."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cloud_hub.adapters.engine.answerer import POLL_S, Answerer
from cloud_hub.adapters.engine.early import EarlyAnswers
from cloud_hub.core.delivery import Delivery, Question
from cloud_hub.core.devices import DeviceKey
from cloud_hub.errors import HubError, StorageError
from cloud_hub.metrics import HubMetrics
from cloud_hub.ports import Answer, Delivered, OpenedSession, WaitingItem
from cloud_hub.serving.errors import ModelFailedError, ModelUnknownError, ServingFullError
from cloud_hub.serving.interface import BACKLOG_PRIORITY, Ask, Caller, Inferred, ModelDescription
from model_packs.manifest import PackManifest
from model_packs.process.metrics import Registry
from model_packs.scoring import score
from protos.codec.escalation import escalation_to_bytes
from protos.messages.escalation import NOT_LOGGED, Hello, HubIncarnation, Item, ItemClass, Verdict
from protos.messages.inference import ModelUse, Tier
from tests.simulators.hub_device import question
from tests.simulators.loops import in_loop
from tests.simulators.packs import build_tiny

PRESS = DeviceKey("o", "s", "press-07")
FULL = "tiny-hub@1.0.0"


class FakeServing:
    """Says label 1; a window of 13 breaks the engine, one of NaN cannot be scored, for one of 77 there is no place."""

    def __init__(self, manifest: PackManifest) -> None:
        self.model = ModelDescription(
            name="tiny-hub",
            version="1.0.0",
            versions=("1.0.0",),
            manifest=manifest,
            digest=manifest.digest,
            batch=4,
            models=(ModelUse(FULL, manifest.digest),),
        )
        self.searched: list[str] = []
        self.asked: list[tuple[Caller, int, bool]] = []
        self.asked_now = 0
        self.is_free = False

    def resolve(self, name: str, version: str = "", key: str = "") -> ModelDescription | None:
        """Not loaded: it has to be found."""
        assert name + version + key != ""
        return None

    async def find(self, name: str, version: str = "", key: str = "") -> ModelDescription:
        """The model, or nothing."""
        self.searched.append(f"{name}@{version}{key}")
        if self.searched[-1] != FULL:
            raise ModelUnknownError(name, version, "there is tiny-hub")
        return self.model

    async def infer(
        self,
        model: ModelDescription,
        inputs: Mapping[str, NDArray[Any]],
        *,
        caller: Caller,
        deadline_s: float | None = None,
        priority: int = 0,
        is_scored: bool = False,
    ) -> Inferred:
        """Answer one window."""
        assert (model, deadline_s) == (self.model, None)
        self.asked.append((caller, priority, is_scored))
        window = inputs["window"]
        if (window == 13).any():
            raise ModelFailedError(FULL, "the engine broke")
        if (window == 77).any():
            raise ServingFullError(FULL, "too many windows wait for it", 30.0)
        return _inferred(model, window)

    def infer_now(self, model: ModelDescription, requests: Sequence[Ask]) -> list[Inferred | HubError | None]:
        """Answer one window, while it is free."""
        ((inputs, caller, is_scored, _),) = requests
        assert (model, caller.name, is_scored) == (self.model, PRESS.device_id, True)
        self.asked_now += 1
        if (inputs["window"] == 13).any():
            return [ModelFailedError(FULL, "the engine broke")]
        return [_inferred(model, inputs["window"]) if self.is_free else None]


def _inferred(model: ModelDescription, window: NDArray[Any]) -> Inferred:
    outputs = {"logits": np.tile([0.0, 4.0, 0.0], (1, 1)) + window[:, 0, :1]}
    return Inferred(outputs, FULL, "1.0.0", 0, 2_000_000, 1, False, model.models, score(model.manifest, outputs))


async def heard_of(early: EarlyAnswers, item: Item) -> Verdict | None:
    """What is said early of an item, at once or later."""
    said = early.ask(PRESS, item)
    return said if said is None or isinstance(said, Verdict) else await said


class FakeStore:
    """Waiting items and logged answers in memory."""

    incarnation = HubIncarnation("h")

    def __init__(self, items: Sequence[WaitingItem]) -> None:
        self.items = list(items)
        self.logged: list[Answer] = []
        self.failures_left = 0
        self.looks = 0
        self.looked = asyncio.Event()
        self.answered = asyncio.Event()

    async def waiting_by_device(self) -> Mapping[DeviceKey, int]:
        """Not asked here."""
        raise AssertionError(self)

    async def waiting(self, limit: int, except_packs: Collection[str] = ()) -> tuple[WaitingItem, ...]:
        """The oldest."""
        self.looks += 1
        self.looked.set()
        return tuple([item for item in self.items if item.hub_pack not in except_packs][:limit])

    async def answer(self, answers: Sequence[Answer]) -> tuple[tuple[DeviceKey, Verdict], ...]:
        """Log them."""
        if self.failures_left:
            self.failures_left -= 1
            raise StorageError("disk full")
        closed = {one.item.row_id for one in answers}
        self.items = [item for item in self.items if item.row_id not in closed]
        self.logged += answers
        self.answered.set()
        return tuple((one.item.device, _verdict(one)) for one in answers)

    async def open_session(self, device: DeviceKey, hello: Hello, now_ns: int) -> OpenedSession:
        """Not asked here."""
        raise AssertionError(device, hello, now_ns)

    async def apply(self, device: DeviceKey, items: Sequence[Delivered], now_ns: int) -> tuple[Delivery, ...]:
        """Not asked here."""
        raise AssertionError(device, items, now_ns)

    async def verdicts(self, device: DeviceKey, after_seq: int, limit: int) -> tuple[Verdict, ...]:
        """Not asked here."""
        raise AssertionError(device, after_seq, limit)

    async def acknowledge(self, device: DeviceKey, verdict_seq: int) -> None:
        """Not asked here."""
        raise AssertionError(device, verdict_seq)


class FakeBell:
    """Remembers who was rung."""

    def __init__(self) -> None:
        self.rung: list[DeviceKey] = []

    def ring(self, logged: Sequence[tuple[DeviceKey, Verdict]]) -> None:
        """Remember."""
        self.rung += [device for device, _ in logged]


def _verdict(one: Answer) -> Verdict:
    asked = one.item.question
    return Verdict(
        1,
        asked.prediction_id,
        asked.input_digest,
        1,
        one.tier,
        one.output,
        one.confidence,
        one.models,
        one.decided_at_ns,
        one.infer_ms,
    )


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> PackManifest:
    """A full model that takes windows of 5 samples with 2 channels, at most 4 at once."""
    folder: Path = tmp_path_factory.mktemp("pack")
    return build_tiny(folder, name="tiny-hub", role="hub", escalates_to=None).manifest


def waiting(row_id: int, value: float = 1.0, pack: str = FULL) -> WaitingItem:
    """A stored question about a constant window."""
    body = question(row_id, np.full((1, 5, 2), value, np.float32), hub_pack=pack).body
    asked = Question(body.prediction_id, body.input_digest)
    return WaitingItem(row_id, PRESS, ItemClass.ESCALATION, asked, pack, escalation_to_bytes(body))


def answerer(
    store: FakeStore, serving: FakeServing, *, page: int = 64, poll_s: float = POLL_S
) -> tuple[Answerer, FakeBell, Registry]:
    """The answerer with its surroundings."""
    registry, bell = Registry(), FakeBell()
    asks: Any = serving  # what the answerer asks of a serving core
    loop = Answerer(store, asks, bell, HubMetrics(registry), lambda: 42, page=page, poll_s=poll_s)
    return loop, bell, registry


@in_loop
async def test_what_waits_is_asked_at_once_behind_what_is_live(manifest: PackManifest) -> None:
    """All windows are asked as backlog in the device's name, with confidence; each is logged and the device is rung."""
    store, serving = FakeStore([waiting(row) for row in range(1, 7)]), FakeServing(manifest)
    loop, bell, registry = answerer(store, serving)
    assert await loop.answer_waiting() == 6
    assert await loop.answer_waiting() == 0
    assert serving.asked == [(Caller("s", "press-07"), BACKLOG_PRIORITY, True)] * 6
    assert [one.item.row_id for one in store.logged] == [1, 2, 3, 4, 5, 6]
    first = store.logged[0]
    assert (first.output and first.output.told, first.tier, first.decided_at_ns) == ("moving", Tier.HUB, 42)
    assert (first.models[0].pack, first.infer_ms) == (FULL, 2.0)
    assert bell.rung == [PRESS] * 6
    assert 'hub_verdicts_total{tier="hub"} 6.0' in registry.expose().decode()


@in_loop
async def test_what_finds_no_place_stays_waiting_and_its_pack_rests(manifest: PackManifest) -> None:
    """A question that the serving core refuses is not answered; its pack is asked nothing more until there is room."""
    store = FakeStore([waiting(1), waiting(2, 77.0)])
    loop, _, _ = answerer(store, FakeServing(manifest))
    assert await loop.answer_waiting() == 2
    assert await loop.answer_waiting() == 0
    assert [item.row_id for item in store.items] == [2]


def test_one_bad_window_does_not_take_its_neighbours_along(manifest: PackManifest) -> None:
    """An engine failure, a non-finite score and an unreadable payload each get a verdict without output and a count."""

    @in_loop
    async def scenario() -> None:
        unreadable = replace(waiting(4), payload=b"\xff\xff")
        store = FakeStore([waiting(1), waiting(2, 13.0), waiting(3, float("nan")), unreadable])
        loop, _, registry = answerer(store, FakeServing(manifest))
        await loop.answer_waiting()
        said = {one.item.row_id: (one.output is not None, one.unscorable) for one in store.logged}
        assert said == {1: (True, None), 2: (False, "engine_error"), 3: (False, "non_finite"), 4: (False, "unreadable")}
        exposed = registry.expose().decode()
        for reason in ("engine_error", "non_finite", "unreadable"):
            assert f'hub_unscorable_total{{reason="{reason}"}} 1.0' in exposed

    scenario()


def test_questions_to_a_missing_pack_rest_and_others_go_on(manifest: PackManifest) -> None:
    """The pack is asked for once, not in a loop; what can be answered is."""

    @in_loop
    async def scenario() -> None:
        store = FakeStore([waiting(1, pack="gone@1.0.0"), waiting(2)])
        serving = FakeServing(manifest)
        loop, _, _ = answerer(store, serving, page=2)
        for _ in range(3):
            await loop.answer_waiting()
        assert [item.row_id for item in store.items] == [1]
        assert [one.item.row_id for one in store.logged] == [2]
        assert serving.searched.count("gone@1.0.0") == 1

    scenario()


def test_a_database_failure_loses_no_question(manifest: PackManifest) -> None:
    """The loop counts the failure, waits, and answers when the database takes it again."""

    @in_loop
    async def scenario() -> None:
        store = FakeStore([waiting(1)])
        store.failures_left = 1
        loop, _, registry = answerer(store, FakeServing(manifest))
        task = asyncio.create_task(loop.run())
        async with asyncio.timeout(10.0):
            await store.answered.wait()
        task.cancel()
        await asyncio.wait([task])
        assert store.items == []
        assert 'hub_loop_failures_total{loop="answerer"} 1.0' in registry.expose().decode()

    scenario()


def test_a_woken_loop_answers_at_once(manifest: PackManifest) -> None:
    """A wake between two looks is not lost: the next look without one would be an hour later."""

    @in_loop
    async def scenario() -> None:
        store = FakeStore([])
        loop, _, _ = answerer(store, FakeServing(manifest), poll_s=3600.0)
        task = asyncio.create_task(loop.run())
        async with asyncio.timeout(10.0):
            await store.looked.wait()
        store.items.append(waiting(1))
        loop.wake()
        async with asyncio.timeout(10.0):
            await store.answered.wait()
        task.cancel()
        await asyncio.wait([task])

    scenario()


@in_loop
async def test_after_a_page_that_was_not_full_there_is_nothing_to_look_for(manifest: PackManifest) -> None:
    """A full page is followed by another look; the last one is not: what comes later wakes the loop."""
    store = FakeStore([waiting(1), waiting(2), waiting(3)])
    loop, _, _ = answerer(store, FakeServing(manifest), page=2, poll_s=3600.0)
    task = asyncio.create_task(loop.run())
    async with asyncio.timeout(30.0):
        while store.items:
            store.answered.clear()
            await store.answered.wait()
        store.items.append(waiting(4))
        store.answered.clear()
        loop.wake()
        await store.answered.wait()
    assert store.looks == 3
    task.cancel()
    await asyncio.wait([task])


@in_loop
async def test_what_was_said_early_is_logged_and_not_asked_again(manifest: PackManifest) -> None:
    """The verdict in the log is the one that the device has heard, of the same run and time."""
    serving, times = FakeServing(manifest), iter(range(7, 20))
    asks: Any = serving
    early = EarlyAnswers(asks, lambda: next(times))
    live = question(1, np.ones((1, 5, 2), np.float32), hub_pack=FULL)
    assert not early.is_quick(FULL), "nobody knows yet"
    heard = await heard_of(early, live)
    assert heard is not None
    assert (heard.verdict_seq, heard.revision, heard.tier, heard.decided_at_ns) == (NOT_LOGGED, 1, Tier.HUB, 7)
    assert heard.prediction_id == live.body.prediction_id
    store = FakeStore([waiting(1)])
    loop = Answerer(store, asks, FakeBell(), HubMetrics(Registry()), lambda: next(times), page=64, early=early)
    assert await loop.answer_waiting() == 1
    (logged,) = store.logged
    assert (logged.output, logged.confidence, logged.models) == (heard.output, heard.confidence, heard.models)
    assert (logged.decided_at_ns, logged.infer_ms) == (heard.decided_at_ns, heard.infer_ms)
    assert len(serving.asked) == 1
    store.items = [waiting(1)]
    assert await loop.answer_waiting() == 1
    assert len(serving.asked) == 2, "what is logged is forgotten"


@in_loop
async def test_a_loaded_model_that_can_answers_at_once(manifest: PackManifest) -> None:
    """Nobody waits for it, not even a turn of the loop; one that cannot now is waited for, and a failure is not."""
    serving = FakeServing(manifest)
    serving.resolve = lambda *_: serving.model  # type: ignore[method-assign]  # it is loaded
    asks: Any = serving
    early = EarlyAnswers(asks, lambda: 7)
    live = question(1, np.ones((1, 5, 2), np.float32), hub_pack=FULL)
    serving.is_free = False
    assert isinstance(await heard_of(early, live), Verdict)
    assert (serving.asked_now, len(serving.asked)) == (1, 1)
    serving.is_free = True
    assert isinstance(early.ask(PRESS, live), Verdict)
    assert early.ask(PRESS, question(2, np.full((1, 5, 2), 13, np.float32), hub_pack=FULL)) is None
    assert early.ask(PRESS, question(3, np.ones((1, 4, 2), np.float32), hub_pack=FULL)) is None
    assert (serving.asked_now, len(serving.asked)) == (3, 1)
    said = await early.take(PRESS, Question(live.body.prediction_id, live.body.input_digest))
    assert said is not None
    assert said.at_ns == 7


@in_loop
async def test_a_question_that_comes_twice_at_once_waits_for_the_model_once(manifest: PackManifest) -> None:
    """On a device's old stream and on its new one; nobody is left waiting for the one that was passed over."""
    serving = FakeServing(manifest)
    asks: Any = serving
    infer = serving.infer

    async def slowly(*args: Any, **more: Any) -> Inferred:  # noqa: ANN401 - handed on
        await asyncio.sleep(0)
        return await infer(*args, **more)

    serving.infer = slowly  # type: ignore[method-assign]  # a model that is not quick
    early = EarlyAnswers(asks, lambda: 7)
    live = question(1, np.ones((1, 5, 2), np.float32), hub_pack=FULL)
    later = [early.ask(PRESS, live) for _ in range(2)]
    said = await asyncio.gather(*[one for one in later if one is not None and not isinstance(one, Verdict)])
    assert sorted(one is None for one in said) == [False, True]
    assert await early.take(PRESS, Question(live.body.prediction_id, live.body.input_digest)) is not None


@in_loop
async def test_what_is_being_answered_early_is_waited_for(manifest: PackManifest) -> None:
    """A full model that takes longer than a commit runs once for a question; of its outputs nothing is kept."""
    serving, may_end = FakeServing(manifest), asyncio.Event()
    asks: Any = serving
    infer = serving.infer

    async def slowly(*args: Any, **more: Any) -> Inferred:  # noqa: ANN401 - handed on
        await may_end.wait()
        return await infer(*args, **more)

    serving.infer = slowly  # type: ignore[method-assign]  # a model that takes long
    early = EarlyAnswers(asks, lambda: 7)
    live = question(1, np.ones((1, 5, 2), np.float32), hub_pack=FULL)
    hearing = asyncio.create_task(heard_of(early, live))
    await asyncio.sleep(0)
    store = FakeStore([waiting(1)])
    loop = Answerer(store, asks, FakeBell(), HubMetrics(Registry()), lambda: 8, page=64, early=early)
    answering = asyncio.create_task(loop.answer_waiting())
    await store.looked.wait()
    await asyncio.sleep(0)
    may_end.set()
    assert await hearing is not None
    assert await answering == 1
    assert [one.decided_at_ns for one in store.logged] == [7]
    assert len(serving.asked) == 1


@in_loop
async def test_nobody_waits_for_a_model_that_has_to_be_loaded_first(manifest: PackManifest) -> None:
    """It answered quickly, and left for want of memory: the next message is read while it is loaded."""
    serving = FakeServing(manifest)
    asks: Any = serving
    early = EarlyAnswers(asks, lambda: 7)
    infer = serving.infer

    async def quickly(*args: Any, **more: Any) -> Inferred:  # noqa: ANN401 - handed on
        return (await infer(*args, **more))._replace(compute_ns=1)

    serving.infer = quickly  # type: ignore[method-assign]  # a model that takes next to nothing
    live = question(1, np.ones((1, 5, 2), np.float32), hub_pack=FULL)
    assert await heard_of(early, live) is not None
    assert not early.is_quick(FULL), "it is not loaded"
    serving.resolve = lambda *_: serving.model  # type: ignore[method-assign]  # now it is
    assert early.is_quick(FULL)


@in_loop
async def test_nothing_is_kept_of_raw_outputs(manifest: PackManifest) -> None:
    """They are views of a whole batch, and the log needs the scored answer only."""
    asks: Any = FakeServing(manifest)
    early = EarlyAnswers(asks, lambda: 7)
    live = question(1, np.ones((1, 5, 2), np.float32), hub_pack=FULL)
    assert await heard_of(early, live) is not None
    said = await early.take(PRESS, Question(live.body.prediction_id, live.body.input_digest))
    assert said is not None
    assert not said.inferred.outputs


@in_loop
@pytest.mark.parametrize("value", [13, 77], ids=["the engine fails", "no room"])
async def test_what_cannot_be_answered_early_is_left_to_the_log(manifest: PackManifest, value: int) -> None:
    """Nothing is said, and nothing is kept of it."""
    asks: Any = FakeServing(manifest)
    early = EarlyAnswers(asks, lambda: 42)
    live = question(1, np.full((1, 5, 2), value, np.float32), hub_pack=FULL)
    assert await heard_of(early, live) is None
    assert await heard_of(early, question(2, np.ones((1, 4, 2), np.float32), hub_pack=FULL)) is None
    assert await early.take(PRESS, Question(live.body.prediction_id, live.body.input_digest)) is None
