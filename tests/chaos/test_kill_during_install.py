"""100 SIGKILLs at random points of an install: the device boots with a verified pack each time, and gets there."""

import json
import multiprocessing
import random
import secrets
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from edge_agent.adapters.slot_file import FILE_NAME, SlotFile, slots_of
from edge_agent.core.pack_slots import MAX_TRIAL_STARTS, FailureReason, PackId, Slot, is_blocked
from model_packs.manifest import PackRef
from model_packs.signing import SiteKey
from model_packs.store import PackStore
from tests.chaos.installing import install_for_ever
from tests.simulators.pack_device import BINDING, booted, write_device

KILLS = 100
BAKE_S = 0.3
SPREAD = 1.5
"""Kills fall up to so many times an undisturbed install after the boot: the disturbed ones take longer."""

DEADLINE_S = 60.0
VERSIONS = ("2.0.0", "3.0.0")

_FORK = multiprocessing.get_context("forkserver")
_FORK.set_forkserver_preload(["tests.chaos.installing", "onnxruntime"])


@dataclass(frozen=True, slots=True)
class Life:
    """One process of the device."""

    boot: str
    booted_s: float
    installed_s: float | None


def live(folder: Path, wanted: PackId, kill_after_s: float | None) -> Life:
    """Let a device live: until so many seconds after its boot, or until it has installed what it should."""
    hears, says = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=install_for_ever, args=(folder, wanted, says), daemon=True)
    began_s = time.monotonic()
    process.start()
    says.close()
    try:
        boot = _heard(hears, DEADLINE_S)
        booted_s = time.monotonic()
        assert boot is not None, f"the device did not boot within {DEADLINE_S:g} s"
        is_done = _heard(hears, DEADLINE_S if kill_after_s is None else kill_after_s) is not None
        installed_s = time.monotonic() - booted_s if is_done else None
    finally:
        process.kill()
        process.join(DEADLINE_S)
        hears.close()
    return Life(boot, booted_s - began_s, installed_s)


def _heard(hears: "Connection[str, str]", timeout_s: float) -> str | None:
    try:
        return hears.recv() if hears.poll(timeout_s) else None
    except EOFError:
        return None


def assert_whole(folder: Path, key: SiteKey) -> Slot:
    """What a kill left: a readable slot file, and behind every name in it a pack that passes every check."""
    packs = folder / "state" / "packs"
    path = packs / FILE_NAME
    slots = slots_of(json.loads(path.read_bytes())) if path.exists() else SlotFile(packs).read()
    slot, store = slots.of(BINDING), PackStore(packs)
    for pack in (slot.active, slot.previous):
        if pack is not None:
            assert store.load(PackRef.parse(pack.pack), (key.public,)).digest == pack.digest
    assert slot.attempts <= MAX_TRIAL_STARTS
    assert slot.failure is None or slot.failure.reason == FailureReason.CRASH_LOOP
    return slot


def test_a_hundred_kills_leave_a_verified_pack_each_time(tmp_path: Path) -> None:
    """Seeded; the kills are spread evenly over the time that an install takes on this machine now, and a bit more."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201 - a failure can be repeated
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    key = write_device(tmp_path, bake_s=BAKE_S)
    with booted(tmp_path) as device:
        packs = [device.publish(tmp_path / version, key, version=version, seed=9) for version in VERSIONS]

    whole = live(tmp_path, packs[0], None)
    assert whole.installed_s is not None
    left: Counter[str] = Counter()
    wanted, other = packs[1], packs[0]
    for _ in range(KILLS):
        life = live(tmp_path, wanted, chance.uniform(0.0, SPREAD * whole.installed_s))
        slot = assert_whole(tmp_path, key)
        left[f"{slot.state} {'new' if slot.active == wanted else 'old'}"] += 1
        left["crash loop"] += is_blocked(slot, wanted)
        if life.installed_s is not None or is_blocked(slot, wanted):
            wanted, other = other, wanted
    print(f"{KILLS} kills, an install takes {whole.installed_s:.2f} s; left {dict(left)}")  # noqa: T201 - figures

    last = live(tmp_path, wanted, None)
    assert last.installed_s is not None
    with booted(tmp_path) as device:
        assert device.runs == wanted
