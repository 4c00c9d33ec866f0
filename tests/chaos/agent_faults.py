"""Owns the scenarios in which the agent itself is hurt: killed at any moment, killed at the worst moments, cloned."""

from pathlib import Path

from model_packs.process.crash_points import CrashPoint
from tests.chaos.ledger import stores_of
from tests.chaos.plant import DEADLINE_S, DEVICE, Plant, Setting, line
from tests.chaos.vitals import StoreView
from tests.simulators.waiting import wait_until

_BLAMED = "another client may use the id"
_STEPS_S = (3600, -3600, 30 * 86_400, 0)
_RATE_HZ = 80.0
_KILLS = 8
_HUB_POINTS = (CrashPoint.HUB_RECEIVED, CrashPoint.HUB_APPLIED, CrashPoint.HUB_SCORED, CrashPoint.HUB_ANSWERED)


def agent_kill_loop(setting: Setting) -> str:
    """SIGKILL again and again under load: nothing lost, nothing applied twice."""
    with Plant(setting) as plant:
        plant.start_agent()
        kills = setting.times(_KILLS)
        with plant.oracle.streaming(_RATE_HZ):
            for _ in range(kills):
                plant.pause(0.05, 0.9)
                plant.agent.process.kill()
                plant.start_agent()
        found, figures = plant.finish()
        return line(found, f"{kills} kills", *figures)


def crash_points(setting: Setting) -> str:
    """SIGKILL at each named moment of agent and hub, from a record's arrival to its verdict's: as agent-kill-loop."""
    with Plant(setting) as plant:
        plant.start_agent()  # from now on the broker keeps its messages
        plant.agent.process.kill()
        for point in (one for one in CrashPoint if one not in _HUB_POINTS):
            plant.crash_agent(f"{point}:{plant.chance.randint(1, 3)}")
        plant.start_agent()
        for point in _HUB_POINTS:
            plant.crash_hub(f"{point}:{plant.chance.randint(1, 3)}")
        plant.hub.start()
        found, figures = plant.finish()
        return line(found, f"{len(CrashPoint)} moments", *figures)


def clock_step(setting: Setting) -> str:
    """The wall clock jumps by an hour, back, and by 30 days, without a hub: nothing expires, no latency is negative."""
    with Plant(setting) as plant:
        offset = setting.folder / "offset"
        offset.write_text("0")
        plant.run_instead("tests.chaos.stepped_agent", str(offset))
        plant.start_agent()
        plant.warm()
        plant.hub_link.down()
        with plant.oracle.streaming(_RATE_HZ):
            for step_s in _STEPS_S:
                step(offset, step_s)
                plant.pause(2.0 * setting.scale)
        plant.oracle.settle()
        plant.wait_answers()
        plant.hub_link.up()
        found, figures = plant.finish()
        least_ms = min(ms for one in plant.listener.heard().values() for ms in one.latencies_ms)
        plant.require(least_ms >= 0, f"a latency of {least_ms} ms")
        expired = plant.count_of("escalations_expired")
        plant.require(expired == 0, f"{expired} questions expired by the clock")
        return line(found, f"{len(_STEPS_S)} steps", f"least latency {least_ms:.2f} ms", *figures)


def step(offset: Path, step_s: int) -> None:
    """Set the agent's clock wrong by so much; it never reads half a file."""
    new = offset.with_suffix(".new")
    new.write_text(str(step_s))
    new.replace(offset)


def same_identity(setting: Setting) -> str:
    """A clone with the same certificate and client id runs, too: the cause is named; nothing mixed, nothing twice."""
    with Plant(setting) as plant:
        clone = plant.clone()
        clones_store = StoreView(clone.folder / "state" / "edge.db")
        plant.start_agent()
        with plant.oracle.streaming(_RATE_HZ / 4):
            clone.process.start()
            wait_until(lambda: plant.is_told(_BLAMED), DEADLINE_S, "the cause in the status of one of them")
        plant.oracle.settle()
        clone.process.kill()
        plant.wait_link("mqtt:site", up=True)
        plant.quieten()
        plant.agent.process.kill()
        clone.process.start()  # what it took is durable there, and comes when it runs alone
        wait_until(lambda: clones_store.pending() == 0, DEADLINE_S, "the clone's own outbox")
        clone.process.kill()
        plant.start_agent()
        found, figures = plant.finish()
        stores = stores_of(plant.hub.folder, DEVICE)
        plant.require(stores == 2, f"{stores} stores at the hub: the two were not told apart")
        return line(found, f"{stores} stores told apart by their ids", *figures)
