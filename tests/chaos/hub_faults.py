"""Owns the scenarios in which a peer is there and does nothing, or comes back as it was before."""

import shutil

from tests.chaos.ledger import applied_at
from tests.chaos.plant import DEADLINE_S, DEVICE, Plant, Setting, line
from tests.simulators.site import command, http_get
from tests.simulators.waiting import wait_until

_STOPPED_S = 6.0
_RATE_HZ = 60.0


def gray(setting: Setting) -> str:
    """Hub, then broker are stopped (SIGSTOP) for a while: memory bounded, the agent lives on, nothing applied twice."""
    with Plant(setting) as plant:
        plant.start_agent()
        plant.warm()
        with plant.oracle.streaming(_RATE_HZ):
            with plant.stopped(plant.hub.process.pid):
                plant.pause(_STOPPED_S * setting.scale)
                plant.require(http_get(plant.agent.http_port, "/livez")[0] == 200, "the agent's watchdog barked")
            with plant.stopped(plant.broker.pid):
                plant.pause(_STOPPED_S * setting.scale)
                plant.require(http_get(plant.agent.http_port, "/livez")[0] == 200, "the agent's watchdog barked")
        found, figures = plant.finish()
        return line(found, f"each stopped for {_STOPPED_S * setting.scale:.0f} s", *figures)


def hub_restore(setting: Setting) -> str:
    """The hub is put back to an older backup: devices send again what it lost; nothing is applied twice."""
    with Plant(setting) as plant:
        plant.start_agent()
        plant.oracle.send(100)
        plant.oracle.settle()
        plant.drain()
        backup = setting.folder / "backup"
        backup.mkdir()
        plant.hub.process.terminate()
        for path in plant.hub.folder.glob("hub.db*"):
            shutil.copy(path, backup)
        plant.hub.start()
        plant.oracle.send(200)
        plant.oracle.settle()
        plant.drain()
        plant.hub.process.kill()
        for path in plant.hub.folder.glob("hub.db*"):
            path.unlink()
        for path in backup.iterdir():
            shutil.copy(path, plant.hub.folder)
        command("cloud-hub", "restored", "--config", str(plant.hub.config), cwd=setting.folder)
        plant.hub.start()
        plant.oracle.send(50)
        plant.oracle.settle()
        owed = len(plant.oracle.acked)
        wait_until(
            lambda: len(applied_at(plant.hub.folder, DEVICE).verdicts) >= owed,
            DEADLINE_S,
            "the hub's books, whole again",
        )
        found, figures = plant.finish()
        return line(found, "200 of them after the backup", *figures)
