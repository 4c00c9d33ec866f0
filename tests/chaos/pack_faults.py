"""Owns the scenario in which the hub wants packs that fail only once they answer for real.

Their golden examples are harmless, so they pass every check before they are tried. The agent is supervised as a unit of
systemd is (`Restart=always`): whoever finds it ended starts it again.
"""

import time

from edge_agent.adapters.slot_file import SlotFile
from edge_agent.core.pack_slots import FailureReason, Slot
from protos.messages.fleet import SlotState
from tests.chaos.plant import DEADLINE_S, DEVICE, Plant, Setting, line, state_of
from tests.simulators.onnx_bytes import Fault
from tests.simulators.packs import build_tiny
from tests.simulators.site import BINDING, SITE_NAME, command
from tests.simulators.waiting import wait_until

_RATE_HZ = 20.0
_ROLLED_BACK_S = 30.0
_KILLS = 2  # at the third start of an unfinished trial the agent holds the pack for a crasher
_BAKE_S = 1.0
_BAD = (
    ("2.0.0", Fault.NO_NUMBER_LATER, FailureReason.ENGINE_FAILURES),
    ("3.0.0", Fault.CRASHES_LATER, FailureReason.CRASH_LOOP),
)


def bad_pack(setting: Setting) -> str:
    """A pack answers NaN, one crashes, once tried: rolled back within 30 s; a good one survives kills amid its swap."""
    with Plant(setting, more=f"\n[packs]\nbake_s = {_BAKE_S}\n") as plant:
        plant.start_agent()
        plant.warm()
        told: list[str] = []
        with plant.oracle.streaming(_RATE_HZ):
            for version, fault, reason in _BAD:
                took_s = _rolled_back_s(plant, _assigned(plant, version, fault), reason)
                plant.require(took_s <= _ROLLED_BACK_S, f"{version} was rolled back after {took_s:.1f} s")
                told.append(f"{fault.value}: {reason}, back after {took_s:.1f} s")
            good = _assigned(plant, "4.0.0", None)
            for _ in range(_KILLS):
                plant.pause(0.1, 1.5)
                plant.agent.process.kill()
                plant.start_agent()
            wait_until(lambda: _runs(plant, good), DEADLINE_S, f"{good} committed")
        plant.oracle.settle()
        found, figures = plant.finish()
        return line(found, *told, f"{_KILLS} kills amid a swap", *figures)


def _assigned(plant: Plant, version: str, fault: Fault | None) -> str:
    """Publish a pack at the hub and want it on the device; its name."""
    folder = plant.setting.folder / version
    folder.mkdir()
    pack = build_tiny(folder, version=version, fault=fault)  # the same weights: the same answers, where it has some
    config = ("--config", str(plant.hub.config))
    command("cloud-hub", "packs", "publish", str(folder / "layout"), *config, cwd=folder)
    whom = ("--device", f"{SITE_NAME}/{DEVICE}", "--binding", BINDING)
    command("cloud-hub", "packs", "assign", str(pack.ref), *whom, *config, cwd=folder)
    return str(pack.ref)


def _rolled_back_s(plant: Plant, pack: str, reason: FailureReason) -> float:
    """Supervise the agent until it has tried a pack and gone back; how long that took, from the trial's begin."""
    wait_until(lambda: _slot(plant).state is SlotState.TRIAL or _has_failed(plant, pack), DEADLINE_S, "a trial")
    began_s = time.monotonic()

    def is_back() -> bool:
        if not plant.agent.process.is_running:
            plant.agent.process.start()
        return _has_failed(plant, pack)

    wait_until(is_back, DEADLINE_S, f"{pack} rolled back")
    took_s = time.monotonic() - began_s
    failure, slot = _slot(plant).failure, _slot(plant)
    plant.require(failure is not None and failure.reason == reason, f"rolled back for {failure}")
    plant.require(slot.active is None or slot.active.pack != pack, f"{pack} still runs")
    plant.wait_link("mqtt:site", up=True)
    return took_s


def _has_failed(plant: Plant, pack: str) -> bool:
    failure = _slot(plant).failure
    return failure is not None and failure.pack == pack


def _runs(plant: Plant, pack: str) -> bool:
    slot = _slot(plant)
    return slot.state is SlotState.COMMITTED and slot.active is not None and slot.active.pack == pack


def _slot(plant: Plant) -> Slot:
    return SlotFile(state_of(plant.setting) / "packs").read().of(BINDING)
