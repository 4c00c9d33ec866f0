"""The demo's config files, read by the programs' own loaders."""

from pathlib import Path

import pytest

from cloud_hub.config import load_config
from deploy.demo.configs import HubPorts, agent_toml, bindings_toml, hub_toml
from deploy.demo.fleet import FLEET, Member
from edge_agent.config import load

PORTS = HubPorts(20_001, 20_002, 20_003)


def test_the_hub_takes_its_config(run_folder: Path) -> None:
    """Ports are as written, and it listens on loopback only."""
    path = run_folder / "hub.toml"
    path.write_text(hub_toml(PORTS))
    config = load_config(path)
    assert (config.grpc.host, config.http.host) == ("127.0.0.1", "127.0.0.1")
    assert (config.grpc.port, config.grpc.enrolment_port, config.http.port) == (20_001, 20_002, 20_003)


@pytest.mark.parametrize("member", FLEET, ids=lambda member: member.name)
def test_an_agent_takes_its_configs(run_folder: Path, member: Member) -> None:
    """No key is unknown; it hears its own watches and nobody else's, and windows are those of the split."""
    (run_folder / "agent.toml").write_text(agent_toml(member, PORTS, 20_004))
    (run_folder / "bindings.toml").write_text(bindings_toml(member, ("127.0.0.1", 20_005)))
    config = load(run_folder / "agent.toml")
    binding = config.bindings.binding[0]
    assert config.agent.device.id == member.name
    assert config.agent.engine.threads == 1
    assert binding.template.filter == f"demo/{member.name}/+/imu"
    assert binding.result.topic == member.results.text
    assert (binding.window.size_s, binding.window.hop_s, binding.payload.rate_hz) == (1.0, 1.0, 50.0)
