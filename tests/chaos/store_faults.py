"""Owns the scenarios in which the agent's outbox is full or huge."""

from tests.chaos.ledger import applied_at, id_of
from tests.chaos.plant import DEADLINE_S, DEVICE, Plant, Setting, line
from tests.simulators.waiting import wait_until

_CAP_BYTES = 256 << 10
_TIMES_OFFERED = 10
_FULL_BUT_FOR = 4  # questions
_PART_OF_ROOM = 4  # so much less at once: an answer waits beside its question for a moment


def spool_cap(setting: Setting) -> str:
    """Ten times the outbox's bound is offered without a hub: bytes within the bound, drops counted, the newest kept.

    Then the hub comes back while the broker is silent: revised answers, larger than their questions, fill the outbox
    again, and what the policy gives up for them is counted, too.
    """
    with Plant(setting, more=f"\n[outbox]\nmax_bytes = {_CAP_BYTES}\n") as plant:
        plant.hub_link.down()
        plant.start_agent()
        plant.oracle.send(20)
        plant.oracle.settle()
        wait_until(lambda: len(plant.store.open_questions()) == 20, DEADLINE_S, "the store's 20 questions")
        each_bytes = plant.store.outbox_bytes() // 20
        offered = _TIMES_OFFERED * _CAP_BYTES // each_bytes
        while len(plant.oracle.sent) < offered:
            _send(plant, 100)
        while (room := (_CAP_BYTES - plant.store.outbox_bytes()) // each_bytes) > _FULL_BUT_FOR:
            _send(plant, room // _PART_OF_ROOM)
        dropped = plant.count_of("escalations_evicted")
        kept = plant.store.open_questions()
        sent = sorted(plant.oracle.sent, key=lambda one: one.second)
        plant.require(dropped + len(kept) == len(sent), f"{dropped} dropped and {len(kept)} kept of {len(sent)}")
        newest = {id_of(DEVICE, one) for one in sent[-len(kept) :]}
        plant.require(len(kept - newest) <= 2, "an old question outlived a newer one")  # the machines take turns
        untold_before = plant.count_of("revisions_evicted")
        with plant.stopped(plant.broker.pid):
            plant.hub_link.up()
            wait_until(lambda: not plant.store.open_questions(), DEADLINE_S, "an end of every question")
        plant.quieten()
        unasked = kept & plant.store.evicted_questions()
        plant.require(
            plant.count_of("escalations_evicted") == dropped + len(unasked), f"{len(unasked)} given up, not counted so"
        )
        heard = plant.listener.heard()
        untold = {name for name in kept if name not in heard or heard[name].revision < 1}
        untold_counted = plant.count_of("revisions_evicted") - untold_before
        plant.require(len(untold) <= untold_counted, f"{len(untold)} untold, {untold_counted} counted")
        unapplied = kept - unasked - applied_at(plant.hub.folder, DEVICE).times.keys()
        plant.require(not unapplied, f"{len(unapplied)} neither given up nor applied at the hub")
        excused = [one for one in sent if id_of(DEVICE, one) not in kept - unasked - untold]
        found, figures = plant.finish(excused=excused, drained=False)
        return line(
            found,
            f"{plant.watch.most_bytes / _CAP_BYTES:.0%} of the bound at most",
            f"{dropped} dropped by policy, the newest {len(kept)} kept",
            f"for a silent broker {len(unasked)} questions and {len(untold)} revisions of those",
            *figures,
        )


def _send(plant: Plant, windows: int) -> None:
    """Send windows, and wait until each has its answer and the broker has every message."""
    plant.oracle.send(windows)
    plant.oracle.settle()
    plant.wait_answers()
    wait_until(lambda: plant.store.unpublished() == 0, DEADLINE_S, "a broker that has every answer")
