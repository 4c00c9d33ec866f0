"""Owns the list of scenarios: name, what runs, and its pass line, which is the first line of its docstring."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos import (
    agent_faults,
    backlog_faults,
    broker_faults,
    disk_faults,
    herd_faults,
    hub_faults,
    link_faults,
    pack_faults,
    store_faults,
    torn_store,
)
from tests.chaos.plant import Setting


@dataclass(frozen=True, slots=True)
class Scenario:
    """One.

    Attributes:
        name: As in the table of docs/reliability.md.
        run: Does it all; returns its figures, raises what is wrong.
        usual_s: About how long it takes on two quiet cores; the longest begin first.
        is_alone: Whether it measures time so closely that no other may run beside it.
    """

    name: str
    run: Callable[[Setting], str]
    usual_s: float
    is_alone: bool = False

    @property
    def pass_line(self) -> str:
        """What must be so."""
        return (self.run.__doc__ or "").strip().splitlines()[0]


ROWS: tuple[tuple[Scenario, ...], ...] = (
    (Scenario("agent-kill-loop", agent_faults.agent_kill_loop, 60),),
    (Scenario("crash-points", agent_faults.crash_points, 60),),
    (Scenario("hub-down-1h", link_faults.hub_down, 60),),
    (Scenario("restart-while-offline", link_faults.restart_while_offline, 30),),
    (Scenario("outage-edge-seconds", link_faults.outage_edge_seconds, 40),),
    (Scenario("flap", link_faults.flap, 40),),
    (Scenario("blackhole", link_faults.blackhole, 50), Scenario("rst", link_faults.rst, 8)),
    (Scenario("satellite", link_faults.satellite, 30), Scenario("cellular", link_faults.cellular, 20)),
    (Scenario("slow-link", link_faults.slow_link, 60),),
    (Scenario("disk-full", disk_faults.disk_full, 30),),
    (Scenario("spool-cap", store_faults.spool_cap, 40),),
    (Scenario("ro-disk", disk_faults.ro_disk, 40), Scenario("eio", disk_faults.eio, 40)),
    (Scenario("torn-store", torn_store.torn_store, 45),),
    (Scenario("big-backlog-restart", backlog_faults.big_backlog_restart, 90),),
    (Scenario("broker-kill", broker_faults.broker_kill, 40),),
    (Scenario("poison", broker_faults.poison, 30),),
    (Scenario("clock-step", agent_faults.clock_step, 30),),
    (Scenario("gray", hub_faults.gray, 40),),
    (Scenario("hub-restore", hub_faults.hub_restore, 40),),
    (Scenario("bad-pack", pack_faults.bad_pack, 60),),
    (Scenario("thundering-herd", herd_faults.thundering_herd, 30, is_alone=True),),
    (Scenario("same-identity", agent_faults.same_identity, 60),),
    (Scenario("broker-down-while-verdicts-arrive", broker_faults.broker_down_while_verdicts_arrive, 15),),
)
"""One line of the list each: the issue counts `blackhole` and `rst`, and other such pairs, as one."""

SCENARIOS: dict[str, Scenario] = {one.name: one for row in ROWS for one in row}
