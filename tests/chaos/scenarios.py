"""Owns the list of scenarios: name, what runs, and its pass line, which is the first line of its docstring."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos import agent_faults, broker_faults, hub_faults, link_faults, store_faults
from tests.chaos.plant import Setting


@dataclass(frozen=True, slots=True)
class Scenario:
    """One.

    Attributes:
        name: As in the table of docs/reliability.md.
        run: Does it all; returns its figures, raises what is wrong.
    """

    name: str
    run: Callable[[Setting], str]

    @property
    def pass_line(self) -> str:
        """What must be so."""
        return (self.run.__doc__ or "").strip().splitlines()[0]


SCENARIOS: dict[str, Scenario] = {
    one.name: one
    for one in (
        Scenario("agent-kill-loop", agent_faults.agent_kill_loop),
        Scenario("crash-points", agent_faults.crash_points),
        Scenario("hub-down-1h", link_faults.hub_down),
        Scenario("restart-while-offline", link_faults.restart_while_offline),
        Scenario("outage-edge-seconds", link_faults.outage_edge_seconds),
        Scenario("flap", link_faults.flap),
        Scenario("blackhole", link_faults.blackhole),
        Scenario("rst", link_faults.rst),
        Scenario("satellite", link_faults.satellite),
        Scenario("cellular", link_faults.cellular),
        Scenario("spool-cap", store_faults.spool_cap),
        Scenario("broker-kill", broker_faults.broker_kill),
        Scenario("poison", broker_faults.poison),
        Scenario("clock-step", agent_faults.clock_step),
        Scenario("gray", hub_faults.gray),
        Scenario("same-identity", agent_faults.same_identity),
        Scenario("hub-restore", hub_faults.hub_restore),
        Scenario("broker-down-while-verdicts-arrive", broker_faults.broker_down_while_verdicts_arrive),
    )
}
