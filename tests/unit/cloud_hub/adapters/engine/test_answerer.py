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
from cloud_hub.core.delivery import Delivery, Question
from cloud_hub.core.devices import DeviceKey
from cloud_hub.errors import PackUnavailableError, StorageError
from cloud_hub.metrics import HubMetrics
from cloud_hub.ports import Answer, Delivered, OpenedSession, WaitingItem
from model_packs.manifest import PackManifest
from model_packs.process.metrics import Registry
from protos.codec.escalation import escalation_to_bytes
from protos.messages.escalation import Hello, HubIncarnation, ItemClass, Verdict
from protos.messages.inference import Tier
from tests.simulators.hub_device import question
from tests.simulators.loops import in_loop
from tests.simulators.packs import build_tiny

PRESS = DeviceKey("o", "s", "press-07")
FULL = "tiny-hub@1.0.0"


class FakeModel:
    """Logits that say label 1; a window that holds 13 breaks the engine, one that holds NaN gives NaN."""

    def __init__(self, manifest: PackManifest, *, is_quick: bool = True) -> None:
        self.manifest = manifest
        self.digest = "sha256:" + "f" * 64
        self.is_quick = is_quick
        self.batches: list[int] = []
        self.output = "logits"

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Answer one batch."""
        windows = inputs["window"]
        self.batches.append(len(windows))
        if (windows == 13).any():
            raise RuntimeError("the engine broke")
        return {self.output: np.tile([0.0, 4.0, 0.0], (len(windows), 1)) + windows[:, 0, :1]}


class FakeModels:
    """Knows one model."""

    def __init__(self, model: FakeModel) -> None:
        self._model = model
        self.asked: list[str] = []

    async def find(self, pack: str) -> FakeModel:
        """The model, or nothing."""
        self.asked.append(pack)
        if pack != FULL:
            raise PackUnavailableError(pack, "it is not published here", "publish it")
        return self._model


class FakeStore:
    """Waiting items and logged answers in memory."""

    incarnation = HubIncarnation("h")

    def __init__(self, items: Sequence[WaitingItem]) -> None:
        self.items = list(items)
        self.logged: list[Answer] = []
        self.failures_left = 0
        self.looked = asyncio.Event()
        self.answered = asyncio.Event()

    async def waiting_by_device(self) -> Mapping[DeviceKey, int]:
        """Not asked here."""
        raise AssertionError(self)

    async def waiting(self, limit: int, except_packs: Collection[str] = ()) -> tuple[WaitingItem, ...]:
        """The oldest."""
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
    store: FakeStore, model: FakeModel, *, max_batch: int = 64, poll_s: float = POLL_S
) -> tuple[Answerer, FakeBell, Registry, FakeModels]:
    """The answerer with its surroundings."""
    registry, bell, models = Registry(), FakeBell(), FakeModels(model)
    loop = Answerer(store, models, bell, HubMetrics(registry), lambda: 42, max_batch=max_batch, poll_s=poll_s)
    return loop, bell, registry, models


@pytest.mark.parametrize("is_quick", [True, False])
def test_what_waits_is_answered_in_batches_of_what_the_pack_allows(manifest: PackManifest, is_quick: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Six windows and a pack limit of four make two runs, inline or in a thread; the device is rung."""

    @in_loop
    async def scenario() -> None:
        store = FakeStore([waiting(row) for row in range(1, 7)])
        model = FakeModel(manifest, is_quick=is_quick)
        loop, bell, registry, _ = answerer(store, model)
        assert await loop.answer_waiting() == 6
        assert await loop.answer_waiting() == 0
        assert model.batches == [4, 2]
        assert [one.item.row_id for one in store.logged] == [1, 2, 3, 4, 5, 6]
        first = store.logged[0]
        assert (first.output and first.output.label, first.tier, first.decided_at_ns) == ("moving", Tier.HUB, 42)
        assert first.models[0].pack == FULL
        assert bell.rung == [PRESS] * 6
        assert 'hub_verdicts_total{tier="hub"} 6.0' in registry.expose().decode()

    scenario()


def test_one_bad_window_does_not_take_its_neighbours_along(manifest: PackManifest) -> None:
    """An engine failure, a non-finite score and an unreadable payload each get a verdict without output and a count."""

    @in_loop
    async def scenario() -> None:
        unreadable = replace(waiting(4), payload=b"\xff\xff")
        store = FakeStore([waiting(1), waiting(2, 13.0), waiting(3, float("nan")), unreadable])
        loop, _, registry, _ = answerer(store, FakeModel(manifest))
        await loop.answer_waiting()
        said = {one.item.row_id: (one.output is not None, one.unscorable) for one in store.logged}
        assert said == {1: (True, None), 2: (False, "engine_error"), 3: (False, "non_finite"), 4: (False, "unreadable")}
        exposed = registry.expose().decode()
        for reason in ("engine_error", "non_finite", "unreadable"):
            assert f'hub_unscorable_total{{reason="{reason}"}} 1.0' in exposed

    scenario()


def test_a_model_that_gives_something_else_than_it_declares_is_an_engine_failure(manifest: PackManifest) -> None:
    """Each question gets a verdict without output, and the loop goes on."""

    @in_loop
    async def scenario() -> None:
        store = FakeStore([waiting(1), waiting(2)])
        model = FakeModel(manifest)
        model.output = "other"
        loop, _, _, _ = answerer(store, model)
        await loop.answer_waiting()
        assert [one.unscorable for one in store.logged] == ["engine_error", "engine_error"]

    scenario()


def test_questions_to_a_missing_pack_rest_and_others_go_on(manifest: PackManifest) -> None:
    """The pack is asked for once, not in a loop; what can be answered is."""

    @in_loop
    async def scenario() -> None:
        store = FakeStore([waiting(1, pack="gone@1.0.0"), waiting(2)])
        loop, _, _, models = answerer(store, FakeModel(manifest), max_batch=1)
        for _ in range(3):
            await loop.answer_waiting()
        assert [item.row_id for item in store.items] == [1]
        assert [one.item.row_id for one in store.logged] == [2]
        assert models.asked.count("gone@1.0.0") == 1

    scenario()


def test_a_database_failure_loses_no_question(manifest: PackManifest) -> None:
    """The loop counts the failure, waits, and answers when the database takes it again."""

    @in_loop
    async def scenario() -> None:
        store = FakeStore([waiting(1)])
        store.failures_left = 1
        loop, _, registry, _ = answerer(store, FakeModel(manifest))
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
        loop, _, _, _ = answerer(store, FakeModel(manifest), poll_s=3600.0)
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
