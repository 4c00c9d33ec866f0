"""Owns the scenarios of the broker's side: killed, down while verdicts arrive, and a sensor that sends rubbish."""

from tests.chaos.ledger import id_of
from tests.chaos.plant import DEVICE, Plant, Setting, line
from tests.simulators.waiting import wait_until

_RATE_HZ = 60.0
_KILLS = 4
_LATENESS_S = 3600.0
_MIB = 1 << 20

_POISON: tuple[bytes, ...] = (
    b"",
    b"\xff\x00\xfe",
    b"[]",
    b'{"t0": 1, "seq": 1, "samples": [[1, 2]]}',
    b'{"t0": "2025-06-15T00:00:00Z", "seq": "x", "samples": "none"}',
    b'{"t0": "2025-06-15T00:00:00Z", "seq": 900001, "samples": [[1]]}',
    b'{"t0": "2025-06-15T00:00:00Z", "seq": 900002, "samples": [[NaN, 1], [1, 1], [1, 1], [1, 1], [1, 1]]}',
    b"[" * 100_000,
)
_ROUNDS = 12


def broker_kill(setting: Setting) -> str:
    """SIGKILL of mosquitto under load: the agent is back by itself; only what the broker itself lost is missing.

    mosquitto acknowledges what it takes before it writes that down, both ways: a kill in between loses it. What was so
    lost of its answers is told by the agent's store, read while the broker is dead: acknowledged, and never heard of.
    """
    with Plant(setting) as plant:
        plant.wait_for_late_samples(_LATENESS_S)
        plant.start_agent()
        plant.warm()
        kills = setting.times(_KILLS)
        entrusted: set[str] = set()
        with plant.oracle.streaming(_RATE_HZ):
            for _ in range(kills):
                plant.pause(0.3, 1.0)
                plant.broker.kill()
                entrusted |= plant.store.published_revisions()
                plant.pause(0.1, 0.5)
                plant.broker.start()
                plant.wait_link("mqtt:site", up=True)
        plant.oracle.settle()
        plant.quieten()
        for counted in ("records_shed", "samples_late"):
            plant.require(plant.count_of(counted) == 0, f"{counted}: not the broker's own loss")
        received = plant.store.seen_predictions()
        losses = [sent for sent in plant.oracle.acked if id_of(DEVICE, sent) not in received]
        silent = entrusted - plant.revised_at().keys()
        unheard = [sent for sent in plant.oracle.acked if id_of(DEVICE, sent) in silent]
        found, figures = plant.finish(excused=[*losses, *unheard], drained=False)
        lost = f"{len(losses)} messages and {len(unheard)} answers lost by the broker itself"
        return line(found, f"{kills} kills", lost, *figures)


def broker_down_while_verdicts_arrive(setting: Setting) -> str:
    """Verdicts come while the broker is down, and the agent is killed in between: every revision is published later."""
    with Plant(setting) as plant:
        plant.hub_link.down()
        plant.start_agent()
        plant.oracle.send(200)
        plant.oracle.settle()
        plant.wait_answers()
        plant.broker_link.down()
        plant.hub_link.up()
        wait_until(lambda: plant.store.revised() >= 100, 60.0, "verdicts in the store")
        plant.agent.process.kill()
        plant.agent.process.start()
        wait_until(lambda: plant.store.revised() >= 200, 60.0, "the rest of the verdicts")
        waiting = plant.store.pending()
        plant.require(waiting >= 100, f"only {waiting} revisions waited: the broker was not down")
        plant.broker_link.up()
        found, figures = plant.finish()
        return line(found, f"{waiting} revisions waited over a kill", *figures)


def poison(setting: Setting) -> str:
    """Each fifth message is rubbish: buried and counted, each; the flow goes on.

    Malformed, wrong type, wrong shape, NaN, deep JSON, and one of 64 MiB.
    """
    with Plant(setting) as plant:
        plant.start_agent()
        plant.warm()
        rounds = setting.times(_ROUNDS)
        for turn in range(rounds):
            for payload in _POISON:
                plant.oracle.send_poison(payload)
                plant.oracle.send(4)
            if turn == rounds // 2:
                plant.oracle.send_poison(b'{"samples": "' + b"x" * (64 * _MIB) + b'"}')
        plant.oracle.settle()
        plant.drain()
        buried = plant.count_of("records_dead_lettered")
        plant.require(buried == plant.oracle.poison_acked, f"{buried} buried of {plant.oracle.poison_acked}")
        found, figures = plant.finish()
        return line(found, f"{buried} buried, one of 64 MiB", *figures)
