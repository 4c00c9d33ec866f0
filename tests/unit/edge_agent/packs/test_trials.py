"""What becomes of a pack on trial: commit, rollback, withdrawal; what a start makes of it; and what leaves the disk."""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.adapters import slot_file
from edge_agent.adapters.slot_file import SlotFile
from edge_agent.core.pack_slots import (
    MAX_ENGINE_FAILURES,
    MAX_TRIAL_STARTS,
    MIN_TRIAL_ANSWERS,
    FailureReason,
    PackId,
    PackRefusedError,
    Slot,
    pin,
    release,
)
from edge_agent.errors import PackUnusableError
from model_packs.engines.session import Session, SessionFacts
from model_packs.errors import EngineError
from model_packs.manifest import PackRef
from model_packs.signing import SiteKey
from model_packs.store import PackStore
from protos.messages.fleet import Desired, DesiredSlot, FailureAction, InstallPhase, SlotState
from protos.messages.inference import ModelUse
from tests.simulators.onnx_bytes import Fault
from tests.simulators.pack_device import BINDING, PackDevice, add_binding, booted, settled, with_slot, write_device
from tests.simulators.packs import SPEC
from tests.unit.edge_agent.adapters.sqlite.builders import TestClock

V1 = "tiny-edge@1.0.0"
BAKE_S = 60.0


@pytest.fixture
def key(tmp_path: Path) -> SiteKey:
    """A device's files with a bake of a minute; the key that it trusts."""
    return write_device(tmp_path, bake_s=BAKE_S)


@pytest.fixture
def clock() -> TestClock:
    """The device's clock."""
    return TestClock()


@pytest.fixture
def device(tmp_path: Path, key: SiteKey, clock: TestClock) -> Iterator[PackDevice]:
    """A device that has started with its factory pack."""
    del key
    with booted(tmp_path, clock=clock) as device:
        yield device


def publish(device: PackDevice, key: SiteKey, folder: Path, version: int, fault: Fault | None = None) -> PackId:
    """Put tiny-edge@`version`.0.0 into the shop."""
    return device.publish(folder / f"v{version}", key, version=f"{version}.0.0", seed=version + 6, fault=fault)


def committed(device: PackDevice, clock: TestClock, wanted: PackId) -> None:
    """Install a pack down to its commit."""
    device.desire(wanted)
    settled(device, lambda slot: slot.state is SlotState.TRIAL)
    clock.pass_s(BAKE_S)
    device.ask(MIN_TRIAL_ANSWERS)
    assert device.step().state is SlotState.COMMITTED
    assert device.runs == wanted


def answers(device: PackDevice) -> set[str]:
    """The packs that answer."""
    return {json.loads(one.publish.payload)["models"][0]["pack"] for one in device.ask(2)}


def disk_is_full(*_: object) -> None:
    """In place of a write."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def on_disk(device: PackDevice) -> Slot:
    """The slot as a start would find it."""
    return SlotFile(device.store.root).read().of(BINDING)


def damage(device: PackDevice, pack: PackId) -> None:
    """Change a byte of its graph on the device's disk."""
    graph = device.store.load(PackRef.parse(pack.pack), None).path("model.onnx")
    data = graph.read_bytes()
    graph.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_the_engine_failing_on_trial_brings_the_old_pack_back(
    device: PackDevice, key: SiteKey, tmp_path: Path, clock: TestClock
) -> None:
    """After three questions, long before the bake is over; it is not installed again until another is wanted."""
    bad = publish(device, key, tmp_path, 2)
    device.desire(bad)
    settled(device, lambda slot: slot.state is SlotState.TRIAL)
    for _ in range(MAX_ENGINE_FAILURES - 1):
        device.keeper.engine_failed(BINDING, ModelUse(bad.pack, bad.digest))
    assert device.step().state is SlotState.TRIAL
    device.keeper.engine_failed(BINDING, ModelUse(V1, "sha256:of the pack before, late"))
    assert device.step().state is SlotState.TRIAL
    device.keeper.engine_failed(BINDING, ModelUse(bad.pack, bad.digest))
    slot = device.step()
    assert slot.failure is not None
    assert (slot.failure.reason, slot.failure.action) == (FailureReason.ENGINE_FAILURES, FailureAction.ROLLED_BACK)
    assert (slot.active, answers(device)) == (None, {V1})
    clock.pass_s(10 * BAKE_S)
    assert device.step() == slot
    device.desire(bad)
    assert device.step() == slot
    good = publish(device, key, tmp_path, 3)
    committed(device, clock, good)
    assert device.slot.failure is None


def test_an_engine_that_breaks_on_live_questions_is_noticed(device: PackDevice, key: SiteKey, tmp_path: Path) -> None:
    """The pipeline's own failures count: here the session is closed under its hands."""
    wanted = publish(device, key, tmp_path, 2)
    device.desire(wanted)
    settled(device, lambda slot: slot.state is SlotState.TRIAL)
    device.models.opened[BINDING].model.session.close()
    device.ask(MAX_ENGINE_FAILURES)
    assert device.step().failure is not None
    assert answers(device) == {V1}


class Numb(Session):
    """A model whose live answers are no numbers: a half-float that overflows, another scale of the sensor."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def facts(self) -> SessionFacts:
        """The model's."""
        return self._session.facts

    def open(self) -> None:
        """It is."""

    def warm_up(self) -> None:
        """It is."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The right shapes."""
        return {name: np.full_like(values, np.nan) for name, values in self._session.run(inputs).items()}

    def close(self) -> None:
        """End it."""
        self._session.close()


def test_a_pack_whose_answers_are_no_numbers_is_rolled_back(
    device: PackDevice, key: SiteKey, tmp_path: Path, clock: TestClock
) -> None:
    """Right on its golden inputs, and of no use here: it counts as the engine's failing."""
    wanted = publish(device, key, tmp_path, 2)
    device.desire(wanted)
    settled(device, lambda slot: slot.state is SlotState.TRIAL)
    model = device.models.opened[BINDING].model
    device.answerers[BINDING].swap(replace(model, session=Numb(model.session)))
    device.ask(MAX_ENGINE_FAILURES)
    clock.pass_s(BAKE_S)
    slot = device.step()
    assert slot.failure is not None
    assert (slot.active, slot.failure.reason) == (None, FailureReason.ENGINE_FAILURES)
    assert answers(device) == {V1}


def test_a_pack_that_nobody_has_asked_stays_on_trial(
    device: PackDevice, key: SiteKey, tmp_path: Path, clock: TestClock
) -> None:
    """A machine stands still over the weekend; it says what it waits for, and the first answers commit it."""
    wanted = publish(device, key, tmp_path, 2)
    device.desire(wanted)
    settled(device, lambda slot: slot.state is SlotState.TRIAL)
    phases = []
    for asked in (0, MIN_TRIAL_ANSWERS - 1):
        clock.pass_s(1000 * BAKE_S)
        for _ in range(asked):
            device.ask()
        assert device.step().state is SlotState.TRIAL
        (report,) = device.slots.twin(device.models.factories).reports
        phases.append(report.phase)
    assert phases == [InstallPhase.WAITING] * 2
    device.ask()
    assert device.step().state is SlotState.COMMITTED
    device.desire(publish(device, key, tmp_path, 3))
    settled(device, lambda slot: slot.state is SlotState.TRIAL)
    (report,) = device.slots.twin(device.models.factories).reports
    assert report.phase is InstallPhase.BAKING


def test_a_pack_that_breaks_on_the_first_question_of_the_morning_is_rolled_back(
    device: PackDevice, key: SiteKey, tmp_path: Path, clock: TestClock
) -> None:
    """However long it has waited."""
    device.desire(publish(device, key, tmp_path, 2))
    settled(device, lambda slot: slot.state is SlotState.TRIAL)
    clock.pass_s(1000 * BAKE_S)
    device.step()
    device.models.opened[BINDING].model.session.close()
    device.ask(MAX_ENGINE_FAILURES)
    device.step()
    assert answers(device) == {V1}


def test_starts_of_a_device_without_questions_are_no_crashes(tmp_path: Path, device: PackDevice, key: SiteKey) -> None:
    """It is switched off every night; each day that is longer than the bake begins the count anew."""
    wanted = publish(device, key, tmp_path, 2)
    device.desire(wanted)
    settled(device, lambda slot: slot.state is SlotState.TRIAL)
    device.close()
    for _ in range(MAX_TRIAL_STARTS + 1):
        clock = TestClock()
        with booted(tmp_path, clock=clock) as again:
            assert again.step().attempts == 1
            clock.pass_s(BAKE_S)
            assert again.step().attempts == 0
            assert again.runs == wanted


def test_the_newest_desire_wins_over_a_trial(
    device: PackDevice, key: SiteKey, tmp_path: Path, clock: TestClock
) -> None:
    """The way back stays the last committed pack; a desire for that one withdraws the trial without a failure."""
    second, third = publish(device, key, tmp_path, 2), publish(device, key, tmp_path, 3)
    device.desire(second)
    settled(device, lambda slot: slot.state is SlotState.TRIAL)
    device.desire(third)
    slot = settled(device, lambda slot: slot.active == third)
    assert (slot.state, slot.previous, device.runs) == (SlotState.TRIAL, None, third)
    device.desire(device.models.factories[BINDING])
    slot = device.step()
    assert (slot.state, slot.active, slot.failure) == (SlotState.COMMITTED, None, None)
    assert answers(device) == {V1}
    committed(device, clock, second)


def test_the_old_model_is_closed_after_the_swap(device: PackDevice, key: SiteKey, tmp_path: Path) -> None:
    """Its memory is the new one's to use."""
    old = device.models.opened[BINDING].model.session
    device.desire(publish(device, key, tmp_path, 2))
    settled(device, lambda slot: slot.state is SlotState.TRIAL)
    with pytest.raises(EngineError, match="not open"):
        _ = old.facts
    assert device.models.opened[BINDING].model.session.facts.engine == "onnxruntime"


def test_a_pinned_slot_waits_for_its_release(device: PackDevice, key: SiteKey, tmp_path: Path) -> None:
    """The desire is kept, and followed afterwards."""
    device.slots.change(BINDING, pin)
    device.desire(publish(device, key, tmp_path, 2))
    assert device.step().active is None
    assert device.packs_here == []
    device.slots.change(BINDING, release)
    settled(device, lambda slot: slot.state is SlotState.TRIAL)


def test_a_full_disk_does_not_keep_a_failing_pack_answering(
    device: PackDevice, key: SiteKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pack before answers and is reported at once, with the reason; the disk has it when there is space again."""
    wanted = publish(device, key, tmp_path, 2)
    device.desire(wanted)
    settled(device, lambda slot: slot.state is SlotState.TRIAL)
    with monkeypatch.context() as full:
        full.setattr(slot_file, "write_file", disk_is_full)
        device.models.opened[BINDING].model.session.close()
        device.ask(MAX_ENGINE_FAILURES)
        for _ in range(2):
            slot = device.step()
            assert slot.failure is not None
            assert (slot.state, slot.active) == (SlotState.COMMITTED, None)
            assert answers(device) == {V1}
        (report,) = device.slots.twin(device.models.factories).reports
        assert (report.pack, report.failure) == (V1, slot.failure)
        assert on_disk(device).state is SlotState.TRIAL
    device.step()
    assert on_disk(device) == slot


def test_what_somebody_else_wrote_meanwhile_stands(
    device: PackDevice, key: SiteKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command found space for its change where the rollback found none."""
    wanted = publish(device, key, tmp_path, 2)
    device.desire(wanted)
    slot = settled(device, lambda slot: slot.state is SlotState.TRIAL)
    with monkeypatch.context() as full:
        full.setattr(slot_file, "write_file", disk_is_full)
        for _ in range(MAX_ENGINE_FAILURES):
            device.keeper.engine_failed(BINDING, ModelUse(wanted.pack, wanted.digest))
        assert device.step().active is None
    SlotFile(device.store.root).change(lambda slots: slots.having(BINDING, pin(slots.of(BINDING))))
    assert device.step() == pin(slot)
    assert device.runs == wanted


def test_a_factory_pack_of_another_kind_is_not_swapped_in(device: PackDevice, key: SiteKey, tmp_path: Path) -> None:
    """Somebody has laid another layout there: windows in flight and readers would notice; refused by name, v2 stays."""
    wanted = publish(device, key, tmp_path, 2)
    device.desire(wanted)
    settled(device, lambda slot: slot.state is SlotState.TRIAL)
    shutil.rmtree(tmp_path / "factory")
    device.publish(tmp_path / "factory", key, version="9.0.0", labels=tuple(reversed(SPEC.labels)))
    for _ in range(MAX_ENGINE_FAILURES):
        device.keeper.engine_failed(BINDING, ModelUse(wanted.pack, wanted.digest))
    with pytest.raises(ExceptionGroup) as caught:
        device.keeper.run_once()
    assert caught.group_contains(PackRefusedError, match=r"tiny-edge@9\.0\.0 does not fit .*labels")
    assert answers(device) == {wanted.pack}


def test_the_trouble_of_one_binding_is_not_another_ones(tmp_path: Path, key: SiteKey, clock: TestClock) -> None:
    """One cannot go back, its factory pack is gone: told, it goes on; the other goes back all the same."""
    second = add_binding(tmp_path, "second")
    with booted(tmp_path, clock=clock) as device:
        bad = publish(device, key, tmp_path, 2)
        device.slots.desire(Desired(1, tuple(DesiredSlot(name, bad.pack, bad.digest) for name in (BINDING, second))))
        device.step()
        assert {device.slots.read().of(name).state for name in (BINDING, second)} == {SlotState.TRIAL}
        shutil.rmtree(tmp_path / "factory")
        for name in (BINDING, second):
            for _ in range(MAX_ENGINE_FAILURES):
                device.keeper.engine_failed(name, ModelUse(bad.pack, bad.digest))
        with pytest.raises(ExceptionGroup, match="follow its slot") as caught:
            device.keeper.run_once()
        assert caught.group_contains(PackUnusableError, match="factory")
        assert device.models.opened[second].pack == device.models.factories[second]
        assert device.runs == bad


def test_a_start_goes_on_with_the_trial(tmp_path: Path, device: PackDevice, key: SiteKey) -> None:
    """The pack on trial answers from the first question on, and its bake begins anew."""
    wanted = publish(device, key, tmp_path, 2)
    device.desire(wanted)
    settled(device, lambda slot: slot.state is SlotState.TRIAL)
    device.close()
    clock = TestClock()
    with booted(tmp_path, clock=clock) as again:
        assert again.runs == wanted
        assert again.step().attempts == 1
        again.ask(MIN_TRIAL_ANSWERS)
        clock.pass_s(BAKE_S - 1)
        assert again.step().state is SlotState.TRIAL
        clock.pass_s(1)
        assert again.step().state is SlotState.COMMITTED


def test_a_trial_that_saw_three_starts_has_crashed_the_agent(tmp_path: Path, device: PackDevice, key: SiteKey) -> None:
    """The third one runs the pack before, and says crash_loop."""
    wanted = publish(device, key, tmp_path, 2)
    device.desire(wanted)
    settled(device, lambda slot: slot.state is SlotState.TRIAL)
    device.close()
    for start in range(1, MAX_TRIAL_STARTS + 1):
        with booted(tmp_path) as again:
            is_over = start == MAX_TRIAL_STARTS
            assert again.runs == (again.models.factories[BINDING] if is_over else wanted)
            slot = again.slot
    assert slot.failure is not None
    assert (slot.failure.reason, slot.failure.pack) == (FailureReason.CRASH_LOOP, wanted.pack)
    with booted(tmp_path) as again:
        assert again.step() == slot


def test_a_start_with_a_damaged_pack_falls_back_and_heals(
    tmp_path: Path, device: PackDevice, key: SiteKey, clock: TestClock
) -> None:
    """The pack before answers at once; a whole copy is fetched behind, tried and committed."""
    second, third = publish(device, key, tmp_path, 2), publish(device, key, tmp_path, 3)
    committed(device, clock, second)
    committed(device, clock, third)
    damage(device, third)
    device.close()
    with booted(tmp_path, clock=clock) as again:
        assert again.runs == second
        assert again.slot.failure is not None
        assert (again.slot.failure.reason, again.slot.previous) == (FailureReason.BAD_DIGEST, None)
        settled(again, lambda slot: slot.active == third)
        again.ask(MIN_TRIAL_ANSWERS)
        clock.pass_s(BAKE_S)
        assert again.step().failure is None
        assert again.runs == third


def test_the_last_way_back_is_the_factory_pack(
    tmp_path: Path, device: PackDevice, key: SiteKey, clock: TestClock
) -> None:
    """When neither the active pack nor the one before is whole."""
    second, third = publish(device, key, tmp_path, 2), publish(device, key, tmp_path, 3)
    committed(device, clock, second)
    committed(device, clock, third)
    damage(device, second)
    damage(device, third)
    device.close()
    with booted(tmp_path) as again:
        assert again.runs.pack == V1
        assert again.slot.active is None


def test_a_start_without_any_good_pack_names_it(tmp_path: Path, device: PackDevice) -> None:
    """A factory pack that is damaged, and nothing else: the operator brings a whole copy."""
    device.close()
    graph = PackStore(tmp_path / "factory" / "layout").load(PackRef.parse(V1), None).path("model.onnx")
    graph.write_bytes(b"nothing")
    with pytest.raises(PackUnusableError, match=r"model\.onnx"), booted(tmp_path):
        pass


def test_a_pack_that_no_longer_fits_its_binding_gives_way(
    tmp_path: Path, device: PackDevice, key: SiteKey, clock: TestClock
) -> None:
    """Somebody has edited bindings.toml, and named a factory pack that fits."""
    committed(device, clock, publish(device, key, tmp_path, 2))
    device.close()
    assert SPEC.window is not None
    slow = device.publish(tmp_path / "slow", key, version="4.0.0", window=replace(SPEC.window, rate_hz=2.5))
    bindings = (tmp_path / "bindings.toml").read_text()
    bindings = bindings.replace('"factory/layout"', '"slow/layout"').replace("rate_hz = 5.0", "rate_hz = 2.5")
    (tmp_path / "bindings.toml").write_text(bindings.replace("_s = 1.0", "_s = 2.0"))
    with booted(tmp_path) as again:
        assert again.runs == slow
        assert again.slot.failure is not None
        assert again.slot.failure.reason == FailureReason.IO_MISMATCH


def test_a_pack_that_the_engine_refuses_at_a_start_gives_way(tmp_path: Path, device: PackDevice, key: SiteKey) -> None:
    """It was installed under another engine, say."""
    bad = publish(device, key, tmp_path, 2, Fault.UNKNOWN_OPSET)
    device.store.import_layout(tmp_path / "v2" / "layout")
    with_slot(device, active=bad)
    device.close()
    with booted(tmp_path) as again:
        assert again.runs.pack == V1
        assert again.slot.failure is not None
        assert again.slot.failure.reason == FailureReason.UNSUPPORTED


def test_a_pack_that_cannot_be_swapped_in_is_rolled_back(device: PackDevice, key: SiteKey, tmp_path: Path) -> None:
    """Damaged between its check and its turn: what runs goes on."""
    wanted = publish(device, key, tmp_path, 2)
    device.store.import_layout(tmp_path / "v2" / "layout")
    damage(device, wanted)
    with_slot(device, state=SlotState.TRIAL, active=wanted)
    device.keeper.run_once()
    assert device.slot.failure is not None
    assert device.slot.failure.reason == FailureReason.BAD_DIGEST
    assert answers(device) == {V1}


def test_a_lost_slot_file_brings_the_factory_pack_back(
    device: PackDevice, key: SiteKey, tmp_path: Path, clock: TestClock
) -> None:
    """Also while the agent runs; the hub then says again what it wants."""
    wanted = publish(device, key, tmp_path, 2)
    committed(device, clock, wanted)
    (device.store.root / "slots.json").unlink()
    device.keeper.run_once()
    assert answers(device) == {V1}
    assert device.slots.twin(device.models.factories).desired.version == 0
    committed(device, clock, wanted)


def test_a_slot_file_that_cannot_be_read_for_a_moment_costs_no_pack(
    tmp_path: Path, device: PackDevice, key: SiteKey, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs goes on; after a start in such a moment the factory pack answers, and nothing leaves the disk."""
    wanted = publish(device, key, tmp_path, 2)
    committed(device, clock, wanted)
    path, read = device.store.root / "slots.json", Path.read_bytes

    def cough(asked: Path) -> bytes:
        if asked == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(asked)

    with monkeypatch.context() as coughing:
        coughing.setattr(Path, "read_bytes", cough)
        device.step()
        assert device.runs == wanted
        device.close()
        with booted(tmp_path) as again:
            again.step()
            assert again.runs == again.models.factories[BINDING]
            assert again.packs_here == [wanted.pack]
    with booted(tmp_path) as again:
        assert again.runs == wanted


def test_packs_that_nobody_may_need_leave_the_disk(
    device: PackDevice, key: SiteKey, tmp_path: Path, clock: TestClock
) -> None:
    """Active and previous stay; what is older goes, with its bytes, and so does a refused pack."""
    packs = [publish(device, key, tmp_path, version) for version in (2, 3, 4)]
    for wanted in packs:
        committed(device, clock, wanted)
    device.step()
    assert device.packs_here == ["tiny-edge@3.0.0", "tiny-edge@4.0.0"]
    before = sorted(path.name for path in (device.store.root / "blobs" / "sha256").iterdir())
    bad = publish(device, key, tmp_path, 5, Fault.UNKNOWN_OPSET)
    device.desire(bad)
    settled(device, lambda slot: slot.failure is not None)
    device.step()
    assert sorted(path.name for path in (device.store.root / "blobs" / "sha256").iterdir()) == before


def test_a_factory_pack_of_the_store_is_never_removed(tmp_path: Path, clock: TestClock) -> None:
    """bindings.toml names it by reference: it lies among the others."""
    key = write_device(tmp_path, pack=V1, bake_s=BAKE_S)
    store = PackStore(tmp_path / "state" / "packs")
    store.open()
    store.import_layout(tmp_path / "factory" / "layout")
    with booted(tmp_path, clock=clock) as device:
        for version in (2, 3, 4):
            committed(device, clock, publish(device, key, tmp_path, version))
        device.step()
        assert device.packs_here == [V1, "tiny-edge@3.0.0", "tiny-edge@4.0.0"]
        store.remove(PackRef.parse("tiny-edge@3.0.0"))
        damage(device, device.runs)
        device.close()
    with booted(tmp_path) as again:
        assert again.runs.pack == V1
