"""Owns the scenarios in which the disk under the agent's state is full, read-only, or fails."""

import sqlite3
import time
from contextlib import closing

from tests.chaos.disks import FailingSyncs, FragileDisk, SmallDisk
from tests.chaos.ledger import id_of
from tests.chaos.plant import DEADLINE_S, DEVICE, Plant, Setting, line, state_of
from tests.simulators.site import http_get
from tests.simulators.waiting import wait_until

_RATE_HZ = 40.0
_FULL_S = 6.0
_RESUMED_S = 10.0
_DISK_BYTES = 24 << 20
_FRAGILE_BYTES = 64 << 20
_BROKEN_S = 3.0
_SMALL = "\n[outbox]\nmax_bytes = 4194304\nreserve_bytes = 6291456\n"


def disk_full(setting: Setting) -> str:
    """Somebody else fills the disk, then makes room: answers go on, what is shed is counted, durable again in 10 s."""
    disk = SmallDisk(state_of(setting), _DISK_BYTES)
    with Plant(setting, more=_SMALL, disk=disk) as plant:
        plant.start_agent()
        plant.warm()
        pid = plant.agent.process.pid
        taken_bytes = disk.fill()
        with plant.oracle.streaming(_RATE_HZ):
            wait_until(lambda: not is_durable(plant), DEADLINE_S, "an agent that says that its disk is full")
            plant.pause(_FULL_S * setting.scale)
        told = plant.agent.status()["problems"]
        plant.require(any("disk is full" in one for one in told), f"the status does not tell: {told}")
        plant.oracle.settle()
        plant.wait_answers()
        disk.free()
        began_s = time.monotonic()
        wait_until(lambda: is_durable(plant), _RESUMED_S, "a durable agent after there was room again")
        resumed_s = time.monotonic() - began_s
        plant.oracle.send(100)
        plant.oracle.settle()
        plant.quieten()
        plant.require(plant.agent.process.pid == pid and plant.agent.process.is_running, "the agent crashed")
        kept = plant.store.seen_predictions()
        shed = [sent for sent in plant.oracle.acked if id_of(DEVICE, sent) not in kept]
        counted = plant.count_of("records_shed")
        plant.require(len(shed) <= counted, f"{len(shed)} were not kept, and {counted} counted as shed")
        found, figures = plant.finish(excused=shed, drained=False)
        plant.require(is_whole(plant), "the database is damaged")
        return line(
            found,
            f"{taken_bytes >> 20} MiB taken",
            f"{counted} shed and counted, each answered",
            f"durable again after {resumed_s:.1f} s",
            *figures,
        )


def ro_disk(setting: Setting) -> str:
    """The kernel turns the disk read-only: degraded, told, nothing acknowledged that is not written; 0 lost."""
    disk = FragileDisk(state_of(setting), setting.folder / "disk.img", _FRAGILE_BYTES)
    with Plant(setting, more=_SMALL, disk=disk) as plant:
        plant.hold_when_the_disk_fails()
        plant.start_agent()
        plant.warm()
        with plant.oracle.streaming(_RATE_HZ):
            plant.pause(1.0)
        plant.oracle.settle()
        plant.quieten()  # a sync that runs as the error comes is confirmed by some kernels, and lost all the same
        disk.turn_read_only()
        with plant.oracle.streaming(_RATE_HZ):
            noticed_s = wait_until_not_durable(plant)
            plant.pause(_BROKEN_S * setting.scale)
            plant.require(http_get(plant.agent.http_port, "/livez")[0] == 200, "the agent's watchdog barked")
            plant.agent.process.kill()
            disk.mend()
            plant.start_agent()
        found, figures = plant.finish()
        plant.require(is_whole(plant), "the database is damaged")
        return line(found, f"told after {noticed_s:.1f} s", "mounted again, nothing missing", *figures)


def eio(setting: Setting) -> str:
    """No sync succeeds any more: degraded, told, nothing acknowledged that is not written; durable again by itself."""
    syncs = FailingSyncs(setting.folder / "fiu")
    with Plant(setting, environ=syncs.environ) as plant:
        plant.hold_when_the_disk_fails()
        plant.start_agent()
        plant.warm()
        with plant.oracle.streaming(_RATE_HZ):
            syncs.fail(plant.agent.process.pid)
            noticed_s = wait_until_not_durable(plant)
            plant.pause(_BROKEN_S * setting.scale)
            syncs.heal(plant.agent.process.pid)
            began_s = time.monotonic()
            wait_until(lambda: is_durable(plant), _RESUMED_S, "a durable agent on a disk that syncs again")
            resumed_s = time.monotonic() - began_s
            syncs.fail(plant.agent.process.pid)
            wait_until_not_durable(plant)
            plant.agent.process.kill()
            plant.start_agent()
        found, figures = plant.finish()
        plant.require(is_whole(plant), "the database is damaged")
        return line(
            found,
            f"told after {noticed_s:.1f} s, durable again after {resumed_s:.1f} s",
            "killed while no sync succeeded, nothing missing",
            *figures,
        )


def wait_until_not_durable(plant: Plant) -> float:
    """Wait until the agent tells, in its metrics and its status, that it cannot write; how long that took."""
    began_s = time.monotonic()
    wait_until(lambda: not is_durable(plant), DEADLINE_S, "an agent that says that its disk fails")
    took_s = time.monotonic() - began_s
    told = plant.agent.status()
    journal = [one for one in told["problems"] if one.startswith("journal:")]
    plant.require(bool(journal) and told["state"] == "degraded", f"the status does not tell: {told['problems']}")
    return took_s


def is_durable(plant: Plant) -> bool:
    """Whether the agent's store commits, by its own metrics."""
    return "edge_journal_available 1.0" in http_get(plant.agent.http_port, "/metrics")[1]


def is_whole(plant: Plant) -> bool:
    """Whether the agent's database passes SQLite's own check."""
    with closing(sqlite3.connect(state_of(plant.setting) / "edge.db")) as store:
        return store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
