"""A wanted pack's way to its trial, and every way in which it is refused: what ran before goes on answering."""

import errno
import itertools
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.adapters import slot_file
from edge_agent.adapters.grpc.dialling import LoopbackPlain
from edge_agent.adapters.grpc.pack_fetch import PackFetch
from edge_agent.config import EngineConfig
from edge_agent.core.pack_slots import MIN_TRIAL_ANSWERS, FailureReason, PackId, PackRefusedError, pin
from edge_agent.packs.probing import Probe
from edge_agent.ports import OnBytes, PackPlan
from model_packs.layout import PACK_TYPE, read_image_manifest
from model_packs.manifest import PackRef
from model_packs.signing import SiteKey, generate_site_key
from model_packs.store import PackStore
from protos.messages.fleet import Desired, DesiredSlot, FailureAction, InstallPhase, SlotState
from tests.simulators.fleet_hub import FleetHub
from tests.simulators.network import LOOPBACK
from tests.simulators.onnx_bytes import Fault
from tests.simulators.pack_device import (
    BINDING,
    FolderSource,
    PackDevice,
    add_binding,
    booted,
    settled,
    with_slot,
    write_device,
)
from tests.simulators.packs import LABELS, SPEC
from tests.simulators.waiting import wait_until
from tests.unit.edge_agent.adapters.sqlite.builders import TestClock

V1, V2 = "tiny-edge@1.0.0", "tiny-edge@2.0.0"


@pytest.fixture
def key(tmp_path: Path) -> SiteKey:
    """A device's files; the key that it trusts."""
    return write_device(tmp_path)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FleetHub]:
    """A hub whose packs are the device's shop."""
    shop = PackStore(tmp_path / "shop")
    shop.open()
    with FleetHub(shop) as hub:
        yield hub


@pytest.fixture
def device(tmp_path: Path, key: SiteKey, hub: FleetHub) -> Iterator[PackDevice]:
    """A device that has started with its factory pack, and fetches from the hub."""
    del key
    with booted(tmp_path, source=lambda store: fetch(hub, store)) as device:
        yield device


def fetch(hub: FleetHub, store: PackStore) -> PackFetch:
    """The real transfer."""
    return PackFetch(LoopbackPlain(f"{LOOPBACK}:{hub.port}", "press-07"), store)


def answering(device: PackDevice, count: int = 1) -> set[str]:
    """Ask; the packs that answered."""
    events = [json.loads(one.publish.payload) for one in device.ask(count)]
    assert all(event["output"] is not None for event in events)
    return {event["models"][0]["pack"] for event in events}


def assert_refused(device: PackDevice, wanted: PackId, reason: FailureReason) -> str:
    """The wanted pack never ran, for this reason, and the factory pack answers; the detail."""
    device.desire(wanted)
    slot = settled(device, lambda slot: slot.failure is not None)
    assert slot.failure is not None
    assert (slot.failure.reason, slot.failure.action) == (reason, FailureAction.REFUSED)
    assert (slot.failure.pack, slot.failure.digest) == (wanted.pack, wanted.digest)
    assert (slot.active, slot.state) == (None, SlotState.COMMITTED)
    assert answering(device) == {V1}
    return slot.failure.detail


def disk_is_full(*_: object) -> None:
    """In place of a write."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def damage(store: PackStore, wanted: PackId, *, cut: bool = False) -> None:
    """Change the last byte of a pack's graph in a store, or leave it out."""
    graph = store.load(PackRef.parse(wanted.pack), None).path("model.onnx")
    data = graph.read_bytes()
    graph.write_bytes(data[:-1] + (b"" if cut else bytes([data[-1] ^ 1])))


def test_a_wanted_pack_is_installed_tried_and_committed(device: PackDevice, key: SiteKey, tmp_path: Path) -> None:
    """From the desire to the commit; the answers name the pack that gave them, and the factory pack is the way back."""
    wanted = device.publish(tmp_path / "v2", key, version="2.0.0", seed=8)
    assert answering(device) == {V1}
    device.desire(wanted)
    slot = settled(device, lambda slot: slot.state is SlotState.COMMITTED and slot.active == wanted)
    assert slot.previous is None
    assert device.runs == wanted
    assert answering(device, 9) == {V2}
    (report,) = device.slots.twin(device.models.factories).reports
    assert (report.pack, report.previous_pack, report.phase) == (V2, V1, InstallPhase.IDLE)


def test_a_trial_reports_that_it_bakes(tmp_path: Path, hub: FleetHub) -> None:
    """Until `bake_s` is over it is on trial, and the pack before stays on the disk."""
    key = write_device(tmp_path, bake_s=60.0)
    clock = TestClock()
    with booted(tmp_path, source=lambda store: fetch(hub, store), clock=clock) as device:
        wanted = device.publish(tmp_path / "v2", key, version="2.0.0", seed=8)
        device.desire(wanted)
        settled(device, lambda slot: slot.state is SlotState.TRIAL)
        for _ in range(3):
            device.step()
        (report,) = device.slots.twin(device.models.factories).reports
        assert (report.state, report.phase, report.pack) == (SlotState.TRIAL, InstallPhase.BAKING, V2)
        clock.pass_s(61.0)
        answering(device, MIN_TRIAL_ANSWERS)
        assert device.step().state is SlotState.COMMITTED


def test_a_pack_that_no_trusted_key_signed_is_refused(device: PackDevice, tmp_path: Path) -> None:
    """Whoever signed it, if not a key of this device."""
    stranger = generate_site_key(tmp_path / "stranger.key")
    wanted = device.publish(tmp_path / "v2", stranger, version="2.0.0")
    assert_refused(device, wanted, FailureReason.BAD_SIGNATURE)


@pytest.mark.parametrize("cut", [False, True])
def test_a_damaged_blob_is_refused(device: PackDevice, key: SiteKey, tmp_path: Path, *, cut: bool) -> None:
    """Other bytes, or fewer, than the signed manifest names."""
    wanted = device.publish(tmp_path / "v2", key, version="2.0.0")
    damage(device.shop, wanted, cut=cut)
    assert "blob sha256:" in assert_refused(device, wanted, FailureReason.BAD_DIGEST) or cut


def test_another_pack_under_the_wanted_name_is_refused(device: PackDevice, key: SiteKey, tmp_path: Path) -> None:
    """What the hub wanted is a digest; the name alone is nothing, and nothing is fetched."""
    wanted = device.publish(tmp_path / "v2", key, version="2.0.0")
    told = assert_refused(device, replace(wanted, digest="sha256:" + "0" * 64), FailureReason.WRONG_PACK)
    assert wanted.digest[:19] in told
    assert device.packs_here == []


@pytest.mark.parametrize("name", ["tiny-edge@9.9.9", "no name at all"])
def test_an_unknown_pack_is_refused(device: PackDevice, name: str) -> None:
    """The hub has it not, or it cannot be a name."""
    assert_refused(device, PackId(name, "sha256:" + "0" * 64), FailureReason.NOT_FOUND)


def test_a_damaged_manifest_is_refused(device: PackDevice, key: SiteKey, tmp_path: Path) -> None:
    """A signed pack.json that names other files than the layers: the wrapping was changed."""
    wanted = device.publish(tmp_path / "v2", key, version="2.0.0")
    manifest = device.shop.resolve(PackRef.parse(V2))
    assert manifest is not None
    path = device.shop.blob_path(manifest)
    image = read_image_manifest(path.read_bytes())
    layers = tuple(layer for layer in image.layers if layer.media_type == PACK_TYPE)
    stripped = device.shop.write_blob(replace(image, layers=layers).to_bytes())
    index = device.shop.root / "index.json"
    size = device.shop.blob_path(stripped).stat().st_size
    text = index.read_text().replace(manifest, stripped)
    index.write_text(text.replace(f'"size":{path.stat().st_size}', f'"size":{size}'))
    assert_refused(device, wanted, FailureReason.DAMAGED_MANIFEST)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": tuple(reversed(LABELS))},
        {"window": replace(SPEC.window, rate_hz=10.0) if SPEC.window is not None else None},
        {"role": "hub", "escalates_to": None},
    ],
)
def test_a_pack_with_another_signature_is_refused(
    changes: dict[str, Any], device: PackDevice, key: SiteKey, tmp_path: Path
) -> None:
    """Other labels, another window or another role: windows in flight and whoever reads the answers would notice."""
    wanted = device.publish(tmp_path / "v2", key, version="2.0.0", **changes)
    assert_refused(device, wanted, FailureReason.IO_MISMATCH)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.UNKNOWN_OPSET, FailureReason.UNSUPPORTED),
        (Fault.OTHER_ANSWERS, FailureReason.GOLDEN_MISMATCH),
        (Fault.CRASHES, FailureReason.PROBE_CRASHED),
    ],
)
def test_a_model_that_cannot_be_run_as_it_was_built_is_refused(
    fault: Fault, reason: FailureReason, device: PackDevice, key: SiteKey, tmp_path: Path
) -> None:
    """The engine refuses it, gives other answers, or dies of it: in the probe's process, not in the agent's."""
    wanted = device.publish(tmp_path / "v2", key, version="2.0.0", fault=fault)
    told = assert_refused(device, wanted, reason)
    assert {"unsupported": "pset 9999", "golden_mismatch": "largest difference", "probe_crashed": "SIGFPE"}[
        reason
    ] in told


def test_a_model_that_hangs_is_refused_and_its_process_is_gone(tmp_path: Path, hub: FleetHub) -> None:
    """After the timeout; meanwhile the old pack answers."""
    key = write_device(tmp_path, probe_timeout_s=4.0)
    with booted(tmp_path, source=lambda store: fetch(hub, store)) as device:
        wanted = device.publish(tmp_path / "v2", key, version="2.0.0", fault=Fault.HANGS)
        assert "within 4 s" in assert_refused(device, wanted, FailureReason.PROBE_TIMEOUT)
        assert probes() == []


def test_a_probe_that_is_killed_has_crashed(tmp_path: Path, key: SiteKey) -> None:
    """By the kernel for want of memory, or by whom ever."""
    del key
    with booted(tmp_path) as device:
        wanted = device.publish(tmp_path / "v2", None, version="2.0.0", fault=Fault.HANGS)
        found: list[PackRefusedError] = []

        def run() -> None:
            with pytest.raises(PackRefusedError) as caught:
                Probe(device.shop.root, engine=EngineConfig(), timeout_s=120.0).run(wanted)
            found.append(caught.value)

        thread = threading.Thread(target=run)
        thread.start()
        pid = wait_until(lambda: next(iter(probes()), None), 60, "the probe's process")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        thread.join(60)
    assert (found[0].reason, "SIGKILL" in found[0].message) == (FailureReason.PROBE_CRASHED, True)


def probes() -> list[int]:
    """Processes that this test's process has started and that still run a probe."""
    pids = [pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]
    return [int(pid) for pid in pids if b"edge_agent.packs.probe" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_pack_that_finds_no_space_waits_for_it(tmp_path: Path, hub: FleetHub) -> None:
    """Nothing is fetched; once there is space, it is installed without another word of the hub."""
    key = write_device(tmp_path, keep_free_bytes=1 << 60)
    clock = TestClock()
    with booted(tmp_path, source=lambda store: fetch(hub, store), clock=clock) as device:
        wanted = device.publish(tmp_path / "v2", key, version="2.0.0", seed=8)
        device.desire(wanted)
        device.step()
        trouble = device.slots.progress(BINDING).trouble
        assert trouble is not None
        assert (trouble.reason, hub.sent_bytes) == (FailureReason.NO_SPACE, 0)
        (report,) = device.slots.twin(device.models.factories).reports
        assert report.failure == trouble
        assert answering(device) == {V1}
        device.installer._keep_free_bytes = 0  # somebody has freed some space
        clock.pass_s(61.0)
        settled(device, lambda slot: slot.state is SlotState.TRIAL)


def test_a_full_disk_is_no_space(tmp_path: Path, key: SiteKey) -> None:
    """It may fill up while a pack arrives; the part stays, and the transfer goes on later."""

    class FullDisk(PackFetch):
        def fetch(self, plan: PackPlan, on_bytes: OnBytes) -> None:
            on_bytes(plan.total_bytes // 2)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    shop = PackStore(tmp_path / "shop")
    shop.open()
    with FleetHub(shop) as hub:
        address = LoopbackPlain(f"{LOOPBACK}:{hub.port}", "press-07")
        with booted(tmp_path, source=lambda store: FullDisk(address, store)) as device:
            device.desire(device.publish(tmp_path / "v2", key, version="2.0.0"))
            device.step()
            trouble = device.slots.progress(BINDING).trouble
            assert trouble is not None
            assert trouble.reason is FailureReason.NO_SPACE
            assert answering(device) == {V1}


def test_a_full_disk_does_not_have_a_refused_pack_examined_for_ever(
    tmp_path: Path, key: SiteKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once: the reason is told, and only its writing is tried again, after a while; a new desire is a new chance."""
    clock, probed = TestClock(), list[PackId]()

    class Counting(Probe):
        def run(self, pack: PackId) -> None:
            probed.append(pack)
            super().run(pack)

    with booted(tmp_path, clock=clock) as device:
        device.installer._probe = Counting(device.store.root, engine=EngineConfig(), timeout_s=30.0)
        wanted = device.publish(tmp_path / "v2", key, version="2.0.0", fault=Fault.OTHER_ANSWERS)
        device.desire(wanted)
        with monkeypatch.context() as full:
            full.setattr(slot_file, "write_file", disk_is_full)
            for pass_s in (0.0, 0.0, 61.0, 61.0):
                clock.pass_s(pass_s)
                device.step()
                (report,) = device.slots.twin(device.models.factories).reports
                assert report.failure is not None
                assert report.failure.reason == FailureReason.GOLDEN_MISMATCH
        assert (device.slot.failure, device.step().failure) == (None, None), "it waits for its turn"
        clock.pass_s(61.0)
        assert device.step().failure == report.failure
        assert probed == [wanted]
        device.desire(wanted)
        device.step()
        assert probed == [wanted, wanted]


def test_a_hub_that_goes_away_delays_and_is_asked_again(tmp_path: Path, key: SiteKey) -> None:
    """download_failed goes by itself; meanwhile the factory pack answers."""
    shop = PackStore(tmp_path / "shop")
    shop.open()
    clock = TestClock()
    source: list[PackFetch] = []

    class Here:
        """Whatever hub is there now. Implements `PackSource`."""

        def plan(self, ref: PackRef) -> PackPlan:
            return source[-1].plan(ref)

        def fetch(self, plan: PackPlan, on_bytes: OnBytes) -> None:
            source[-1].fetch(plan, on_bytes)

    with booted(tmp_path, source=lambda _: Here(), clock=clock) as device:
        source.append(PackFetch(LoopbackPlain(f"{LOOPBACK}:1", "press-07"), device.store))
        wanted = device.publish(tmp_path / "v2", key, version="2.0.0", seed=8)
        device.desire(wanted)
        device.step()
        trouble = device.slots.progress(BINDING).trouble
        assert trouble is not None
        assert trouble.reason is FailureReason.DOWNLOAD_FAILED
        assert answering(device) == {V1}
        with FleetHub(shop) as hub:
            source.append(fetch(hub, device.store))
            clock.pass_s(61.0)
            settled(device, lambda slot: slot.state is SlotState.TRIAL)


def test_a_download_that_is_cut_20_times_costs_hardly_a_byte(
    device: PackDevice, hub: FleetHub, key: SiteKey, tmp_path: Path
) -> None:
    """It goes on where it stopped, each time; at most 2 % is sent twice."""
    sources = tmp_path / "v2" / "sources"
    sources.mkdir(parents=True)
    (sources / "large.bin").write_bytes(np.random.default_rng(1).bytes(3 << 20))
    wanted = device.publish(tmp_path / "v2", key, version="2.0.0", seed=8, other_files=("large.bin",))
    total = next(one.size_bytes for one in device.shop.list() if str(one.ref) == wanted.pack)
    hub.cut(20, after_bytes=20_000)  # more than the range that follows a cut
    device.desire(wanted)
    settled(device, lambda slot: slot.active == wanted)
    assert hub.cuts == 20
    assert hub.sent_bytes <= 1.02 * total


class Interrupted(FolderSource):
    """A transfer in whose middle something happens."""

    def __init__(self, source: PackStore, store: PackStore, happens: Callable[[], None]) -> None:
        super().__init__(source, store)
        self.happens = happens

    def fetch(self, plan: PackPlan, on_bytes: OnBytes) -> None:
        """It happens before the second piece."""
        pieces = itertools.count(1)

        def watched(done_bytes: int) -> None:
            if next(pieces) == 2:
                self.happens()
            on_bytes(done_bytes)

        super().fetch(plan, watched)


@pytest.mark.parametrize("what", ["another desire", "a pin", "the agent stops", "the hub wants nothing new"])
def test_a_transfer_ends_when_its_pack_is_no_longer_wanted(what: str, tmp_path: Path, key: SiteKey) -> None:
    """The newest desire wins, in every phase; nothing is kept against the pack, and its part stays for later."""
    clock = TestClock()
    shop = PackStore(tmp_path / "shop")
    shop.open()
    sources: list[Interrupted] = []

    def interrupted(store: PackStore) -> Interrupted:
        sources.append(Interrupted(shop, store, lambda: None))
        return sources[-1]

    with booted(tmp_path, source=interrupted, clock=clock) as device:
        second = device.publish(tmp_path / "v2", key, version="2.0.0", seed=8)
        third = device.publish(tmp_path / "v3", key, version="3.0.0", seed=9)
        acts: dict[str, Callable[[], object]] = {
            "another desire": lambda: device.desire(third),
            "a pin": lambda: device.slots.change(BINDING, pin),
            "the agent stops": device.installer.stop,
            "the hub wants nothing new": lambda: device.desire(device.models.factories[BINDING]),
        }

        def happen() -> None:
            acts[what]()
            clock.pass_s(2.0)

        sources[0].happens = happen
        device.desire(second)
        device.step()
        slot = device.slot
        assert (slot.active, slot.failure, device.packs_here) == (None, None, [])
        assert device.slots.progress(BINDING).phase is InstallPhase.IDLE
        assert answering(device) == {V1}
        sources[0].happens = lambda: None
        if what == "another desire":
            settled(device, lambda slot: slot.active == third)


def test_a_binding_that_cannot_withdraw_does_not_hold_up_another(
    tmp_path: Path, key: SiteKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk refuses its slot; the other one's pack is fetched and examined as far as it gets."""
    second = add_binding(tmp_path, "second")
    with booted(tmp_path, clock=TestClock()) as device:
        wanted = device.publish(tmp_path / "v2", key, version="2.0.0", seed=8)
        with_slot(device, state=SlotState.TRIAL, active=wanted)
        factory = device.models.factories[BINDING]
        wishes = DesiredSlot(BINDING, factory.pack, factory.digest), DesiredSlot(second, wanted.pack, wanted.digest)
        device.slots.desire(Desired(1, wishes))
        monkeypatch.setattr(slot_file, "write_file", disk_is_full)
        with pytest.raises(ExceptionGroup, match="what the hub wants"):
            device.installer.run_once()
        assert device.packs_here == [wanted.pack]


def test_a_pack_that_is_unwanted_at_the_last_moment_gets_no_trial(tmp_path: Path, key: SiteKey) -> None:
    """The flip looks at the desire under the file's lock."""
    with booted(tmp_path) as device:
        wanted = device.publish(tmp_path / "v2", key, version="2.0.0", seed=8)
        device.desire(wanted)
        probe = device.installer._probe

        class Pinning(Probe):
            def run(self, pack: PackId) -> None:
                probe.run(pack)
                device.slots.change(BINDING, pin)

        device.installer._probe = Pinning(device.store.root, engine=EngineConfig(), timeout_s=30.0)
        assert device.step().active is None


def test_a_damaged_store_is_a_reason_and_no_crash(device: PackDevice, key: SiteKey, tmp_path: Path) -> None:
    """Its index cannot be read: told as damaged_manifest, and the factory pack answers."""
    wanted = device.publish(tmp_path / "v2", key, version="2.0.0", seed=8)
    (device.store.root / "index.json").write_text("{")
    assert "index.json" in assert_refused(device, wanted, FailureReason.DAMAGED_MANIFEST)


def test_a_disk_that_refuses_the_slots_keeps_nothing_from_running(tmp_path: Path, key: SiteKey) -> None:
    """A desire is not kept, and the hub says it again; a start on trial is not counted; a damaged pack gives way."""
    with booted(tmp_path) as device:
        wanted = device.publish(tmp_path / "v2", key, version="2.0.0", seed=8)
        device.desire(wanted)
        device.installer.wake()
        device.installer.run_once()
        assert device.slot.state is SlotState.TRIAL

    lock = tmp_path / "state" / "packs" / "slots.lock"
    lock.unlink()
    lock.mkdir()  # root may write where nobody may, but a folder is no file
    with booted(tmp_path) as device:
        assert device.runs == wanted
        assert device.slot.attempts == 0
        device.desire(device.models.factories[BINDING])
        assert device.slots.read().wanted(BINDING) == wanted
        graph = device.store.load(PackRef.parse(wanted.pack), None).path("model.onnx")
    graph.write_bytes(b"damaged")
    with booted(tmp_path) as device:
        assert answering(device) == {V1}
