"""Owns the scenarios in which the disk under the agent's state is full."""

import sqlite3
import time
from contextlib import closing

from tests.chaos.disks import SmallDisk
from tests.chaos.ledger import id_of
from tests.chaos.plant import DEADLINE_S, DEVICE, Plant, Setting, line, state_of
from tests.simulators.site import http_get
from tests.simulators.waiting import wait_until

_RATE_HZ = 40.0
_FULL_S = 6.0
_RESUMED_S = 10.0
_DISK_BYTES = 24 << 20
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


def is_durable(plant: Plant) -> bool:
    """Whether the agent's store commits, by its own metrics."""
    return "edge_journal_available 1.0" in http_get(plant.agent.http_port, "/metrics")[1]


def is_whole(plant: Plant) -> bool:
    """Whether the agent's database passes SQLite's own check."""
    with closing(sqlite3.connect(state_of(plant.setting) / "edge.db")) as store:
        return store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
