"""Owns a device's way with packs without its brokers: slots, models, keeper and installer, as the agent wires them.

A binding answers through a real `Answerer`; packs come from a folder beside it, or from the source that a test gives.
Nothing runs by itself: `step` is one turn of both loops.
"""

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.adapters.clock import SystemClock
from edge_agent.adapters.slot_file import SlotFile
from edge_agent.config import Config, EngineConfig, load
from edge_agent.core.audit_lottery import KEY_BYTES
from edge_agent.core.budget import BucketSpec
from edge_agent.core.pack_slots import MIN_TRIAL_ANSWERS, PackId, Slot
from edge_agent.core.rate_limit import RateLimit
from edge_agent.inference.allotting import Allotment
from edge_agent.inference.answering import Answerer, Asked
from edge_agent.inference.rationing import Ration
from edge_agent.packs.device_slots import DeviceSlots
from edge_agent.packs.installer import Installer
from edge_agent.packs.keeper import Keeper
from edge_agent.packs.models import Models
from edge_agent.packs.probing import Probe
from edge_agent.packs.trusted_packs import TrustedPacks
from edge_agent.ports import BindingName, Clock, Decided, OnBytes, PackBlob, PackPlan, PackSource, RowId
from model_packs.certificate.document import Certificate
from model_packs.layout import read_image_manifest
from model_packs.manifest import PackRef
from model_packs.signing import SiteKey, generate_site_key
from model_packs.store import PackStore
from protos.messages.fleet import Desired, DesiredPolicy, DesiredSlot
from tests.simulators.packs import CHANNELS, SAMPLES, build_tiny

BINDING = BindingName("motion")
PIECE_BYTES = 256

_AGENT_TOML = """\
[device]
id = "press-07"
state_dir = "state"

[hub]
address = "127.0.0.1:1"
insecure = true

[packs]
trusted_keys = ["site.pub"]
bake_s = {bake_s}
probe_timeout_s = {probe_timeout_s}
keep_free_bytes = {keep_free_bytes}
"""

_BINDINGS_TOML = """\
[mqtt.site]
url = "mqtt://127.0.0.1:1"

[[binding]]
name = "motion"
broker = "site"
pack = "{pack}"
topic = "plant/{{machine}}/raw"
partition = ["machine"]

[binding.payload]
rate_hz = {rate_hz}

[binding.window]
size_s = 1.0
hop_s = 1.0

[binding.result]
topic = "plant/{{machine}}/inference"
"""


def write_device(
    folder: Path,
    *,
    pack: str = "factory/layout",
    bake_s: float = 1e-9,
    probe_timeout_s: float = 30.0,
    keep_free_bytes: int = 0,
    certificate: Certificate | None = None,
) -> SiteKey:
    """Write a device's files: both configurations, a site key, and tiny-edge@1.0.0 as the factory pack.

    Args:
        folder: An existing folder.
        pack: Where the binding looks for its factory pack.
        bake_s: How long a pack bakes.
        probe_timeout_s: How long a probe may take.
        keep_free_bytes: What packs must leave free.
        certificate: Of the factory pack; None: it keeps nothing.

    Returns:
        The key that the device trusts.
    """
    key = generate_site_key(folder / "site.key")
    (folder / "site.pub").write_text(key.public.pem)
    (folder / "factory").mkdir()
    build_tiny(folder / "factory", sign=key, certificate=certificate)
    (folder / "agent.toml").write_text(
        _AGENT_TOML.format(bake_s=f"{bake_s:.9f}", probe_timeout_s=probe_timeout_s, keep_free_bytes=keep_free_bytes)
    )
    (folder / "bindings.toml").write_text(_BINDINGS_TOML.format(pack=pack, rate_hz=float(SAMPLES)))
    return key


def add_binding(folder: Path, name: str) -> BindingName:
    """Declare a binding beside the first, with a factory pack of its own in the folder of this name."""
    shutil.copytree(folder / "factory", folder / name)
    bindings = folder / "bindings.toml"
    before, mark, binding = bindings.read_text().partition("[[binding]]")
    another = binding.replace('"motion"', f'"{name}"').replace("factory/", f"{name}/").replace("plant/", f"{name}/")
    bindings.write_text(before + mark + binding + "\n" + mark + another)
    return BindingName(name)


class FolderSource:
    """Packs of a store on this machine, brought in small pieces. Implements `PackSource`.

    Args:
        source: Where packs come from; open.
        store: Where they go; open.
    """

    def __init__(self, source: PackStore, store: PackStore) -> None:
        self._source = source
        self._store = store
        self.brought_bytes = 0

    def plan(self, ref: PackRef) -> PackPlan:
        """What is missing."""
        digest = self._source.resolve(ref)
        assert digest is not None, f"the source has no {ref}"
        manifest = self._source.read_blob(digest, 0, self._source.blob_size_bytes(digest))
        image = read_image_manifest(manifest)
        blobs = [PackBlob(one.digest, one.size_bytes) for one in image.blobs]
        missing = tuple(one for one in blobs if not self._store.has_whole_blob(one.digest, one.size_bytes))
        done = sum(self._store.partial_bytes(one.digest) for one in missing)
        return PackPlan(ref, image.pack_layer.digest, manifest, missing, sum(one.size_bytes for one in missing), done)

    def fetch(self, plan: PackPlan, on_bytes: OnBytes) -> None:
        """Copy it, piece by piece."""
        with self._store.fetching():
            for blob in plan.missing:
                with self._store.receive(blob.digest, blob.size_bytes) as receiver:
                    while receiver.offset < blob.size_bytes:
                        data = self._source.read_blob(blob.digest, receiver.offset, PIECE_BYTES)
                        receiver.append(data)
                        self.brought_bytes += len(data)
                        on_bytes(self.brought_bytes)
                    receiver.commit()
            self._store.add_manifest(plan.ref, plan.manifest)


@dataclass(frozen=True, slots=True)
class Window:
    """A question of one second. Implements `Question`."""

    start_ns: int
    values: NDArray[Any]

    partition = "m1"
    samples = SAMPLES
    fill = 1.0

    @property
    def identity(self) -> tuple[str | int, ...]:
        """As a window's."""
        return (self.partition, self.start_ns, self.end_ns)

    @property
    def end_ns(self) -> int:
        """A second later."""
        return self.start_ns + 1_000_000_000


class PackDevice:
    """The parts, in a folder that `write_device` wrote; use `booted`."""

    def __init__(
        self, folder: Path, *, source: Callable[[PackStore], PackSource] | None = None, clock: Clock | None = None
    ) -> None:
        self.config: Config = load(folder / "agent.toml")
        self.clock = clock or SystemClock()
        self.store = PackStore(self.config.agent.device.packs_dir)
        self.store.open()
        self.shop = PackStore(folder / "shop")
        self.shop.open()
        self.slots = DeviceSlots(SlotFile(self.config.agent.device.packs_dir))
        trust = TrustedPacks(self.config)
        self.models = Models(self.config, self.slots, trust, None, self.clock)
        packs, bindings = self.config.agent.packs, self.config.bindings.binding
        self.keeper = Keeper(
            bindings,
            self.slots,
            self.models,
            self.clock,
            bake_s=packs.bake_s,
            swap=lambda binding, model: self.answerers[binding].swap(model),
        )
        self.source = FolderSource(self.shop, self.store) if source is None else source(self.store)
        self.installer = Installer(
            bindings,
            self.slots,
            self.models,
            self.clock,
            source=self.source,
            trust=trust,
            probe=Probe(self.store.root, engine=EngineConfig(), timeout_s=packs.probe_timeout_s),
            store=self.store,
            keep_free_bytes=packs.keep_free_bytes,
        )
        self._rows = itertools.count(1)
        self._seconds = itertools.count(1_790_000_000)

    def boot(self) -> None:
        """What a start of the agent does with packs."""
        self.slots.open()
        self.models.open()
        self.answerers = {
            binding: Answerer(
                "press-07",
                binding,
                opened.model,
                self.clock,
                new_row=lambda: RowId(next(self._rows)),
                on_run=lambda _binding, _took_s: None,
                on_answered=lambda _binding, _latency_ms: None,
                on_scored=self.keeper.answered,
                on_engine_failure=self.keeper.engine_failed,
                allotment=Allotment(Ration(None), RateLimit(BucketSpec(1e6, 1.0)), bytes(KEY_BYTES), self.clock),
                look=lambda *_: None,
            )
            for binding, opened in self.models.opened.items()
        }

    def close(self) -> None:
        """End it."""
        self.installer.stop()
        self.models.close()

    def step(self) -> Slot:
        """One turn of the installer, then of the keeper; the slot after it."""
        for loop in (self.installer, self.keeper):
            loop.wake()
            loop.run_once()
        return self.slot

    @property
    def slot(self) -> Slot:
        """The binding's slot, from the disk."""
        return self.slots.read().of(BINDING)

    @property
    def runs(self) -> PackId:
        """What the binding runs."""
        return self.models.opened[BINDING].pack

    @property
    def packs_here(self) -> list[str]:
        """Names of the packs in the device's store."""
        return [str(one.ref) for one in self.store.list()]

    def ask(self, count: int = 1, binding: BindingName = BINDING) -> list[Decided]:
        """Answer so many windows in one pass."""
        values = np.zeros((SAMPLES, CHANNELS), np.float32)
        windows = [Window(next(self._seconds) * 1_000_000_000, values) for _ in range(count)]
        asked = [Asked(one, self.clock.wall_ns(), "site", "results", 1, None) for one in windows]
        answerer = self.answerers[binding]
        decided = answerer.answer(asked, is_durable=True)
        answerer.look()  # as the pass does, once the answers are out
        return decided

    def desire(self, pack: PackId, version: int | None = None) -> None:
        """The hub wants this pack; each call with a newer version."""
        newest = self.slots.read().desired.version
        slot = DesiredSlot(BINDING, pack.pack, pack.digest)
        self.slots.desire(Desired(newest + 1 if version is None else version, (slot,)))

    def order(self, policy: DesiredPolicy) -> None:
        """The hub wants this policy, and says nothing of packs."""
        version = self.slots.read().desired.version + 1
        desired = Desired(version, (DesiredSlot(BINDING, "", "", policy),))
        self.models.take_policies(desired)
        self.slots.desire(desired)

    def publish(self, folder: Path, key: SiteKey | None, **changes: Any) -> PackId:  # noqa: ANN401 - as `build_tiny`
        """Build a tiny pack in a folder and put it into the shop."""
        folder.mkdir(exist_ok=True)
        pack = build_tiny(folder, sign=key, **changes)
        self.shop.import_layout(folder / "layout")
        return PackId(str(pack.ref), pack.digest)


@contextmanager
def booted(folder: Path, **parts: Any) -> Iterator[PackDevice]:  # noqa: ANN401 - as `PackDevice`
    """A device that has started; it is closed at the end of the block."""
    device = PackDevice(folder, **parts)
    device.boot()
    try:
        yield device
    finally:
        device.close()


def settled(device: PackDevice, is_so: Callable[[Slot], bool], turns: int = 20) -> Slot:
    """Step under a stream of questions until the slot is as wanted."""
    for _ in range(turns):
        device.ask(MIN_TRIAL_ANSWERS)
        slot = device.step()
        if is_so(slot):
            return slot
    raise AssertionError(f"after {turns} turns the slot is {slot}")


def with_slot(device: PackDevice, **changes: Any) -> None:  # noqa: ANN401 - fields of `Slot`
    """Put the slot into a state that a test begins with."""
    device.slots.change(BINDING, lambda slot: replace(slot, **changes))
