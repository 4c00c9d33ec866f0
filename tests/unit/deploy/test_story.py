"""The story's plan, and what the stage reads of the programs."""

import pytest

from deploy.demo.stage import free_ports, read_audit, read_pulse
from deploy.demo.story import Act, acts


@pytest.mark.parametrize("wall_s", [7.0, 70.0])
def test_all_acts_lie_within_the_run_and_one_fault_is_over_before_the_next(wall_s: float) -> None:
    """At every speed the hub is killed and started, then the agent, then somebody labels, during the comparison."""
    plan = acts(wall_s)
    assert [act for _, act in plan] == [Act.KILL_HUB, Act.START_HUB, Act.KILL_AGENT, Act.START_AGENT, Act.LABEL]
    times = [at_s for at_s, _ in plan]
    assert times == sorted(times)
    assert wall_s / 4 < times[0]
    assert times[-1] < wall_s


def test_free_ports_are_different_and_below_those_of_outgoing_connections() -> None:
    """A client that keeps dialling a dead server there cannot connect to itself."""
    ports = free_ports(7)
    assert len(set(ports)) == 7
    assert all(20_000 <= port < 32_000 for port in ports)


def test_a_pulse_is_read_from_the_metrics_page() -> None:
    """Items of all classes count together; links are known by their peer."""
    page = (
        '# TYPE edge_outbox_items gauge\nedge_outbox_items{class="prediction"} 3.0\n'
        'edge_outbox_items{class="escalation"} 2.0\n# TYPE edge_link_up gauge\n'
        'edge_link_up{peer="hub"} 1.0\nedge_link_up{peer="mqtt:site"} 0.0\n'
    )
    pulse = read_pulse(page)
    assert (pulse.outbox_items, pulse.hub_connected, pulse.broker_connected) == (5, True, False)


def test_an_audit_names_the_equations_that_do_not_hold() -> None:
    """Each is named with its binding."""
    equations = [
        {"name": "records", "binding": "motion", "holds": True},
        {"name": "samples", "binding": "motion", "holds": False},
    ]
    audit = read_audit({"equations": equations})
    assert (audit.equations, audit.broken) == (2, ("samples (motion)",))
