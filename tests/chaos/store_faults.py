"""Owns the scenarios in which the agent's outbox is full or huge."""

from tests.chaos.ledger import id_of
from tests.chaos.plant import DEADLINE_S, DEVICE, Plant, Setting, line
from tests.simulators.waiting import wait_until

_CAP_BYTES = 256 << 10
_TIMES_OFFERED = 10


def spool_cap(setting: Setting) -> str:
    """Ten times the outbox's bound is offered without a hub: bytes within the bound, drops counted, the newest kept."""
    with Plant(setting, more=f"\n[outbox]\nmax_bytes = {_CAP_BYTES}\n") as plant:
        plant.hub_link.down()
        plant.start_agent()
        plant.oracle.send(20)
        plant.oracle.settle()
        wait_until(lambda: len(plant.store.open_questions()) == 20, DEADLINE_S, "the store's 20 questions")
        each_bytes = plant.store.outbox_bytes() // 20
        offered = _TIMES_OFFERED * _CAP_BYTES // each_bytes
        while len(plant.oracle.sent) < offered:
            plant.oracle.send(100)
            plant.oracle.settle()
            plant.wait_answers()
        wait_until(lambda: plant.store.unpublished() == 0, DEADLINE_S, "a broker that has every answer")
        dropped = plant.count_of("escalations_evicted")
        kept = plant.store.open_questions()
        sent = sorted(plant.oracle.sent, key=lambda one: one.second)
        plant.require(dropped + len(kept) == len(sent), f"{dropped} dropped and {len(kept)} kept of {len(sent)}")
        newest = {id_of(DEVICE, one) for one in sent[-len(kept) :]}
        plant.require(len(kept - newest) <= 2, "an old question outlived a newer one")  # the machines take turns
        lost = [one for one in sent if id_of(DEVICE, one) not in kept]
        plant.hub_link.up()
        plant.quieten()
        found, figures = plant.finish(excused=lost, drained=False)
        return line(
            found,
            f"{plant.watch.most_bytes / _CAP_BYTES:.0%} of the bound at most",
            f"{dropped} dropped by policy, the newest {len(kept)} kept",
            *figures,
        )
