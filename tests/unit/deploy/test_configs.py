"""The demo's config files, read by the programs' own loaders."""

from pathlib import Path

import pytest

from cloud_hub.config import load_config
from deploy.demo.configs import HubPorts, agent_toml, bindings_toml, hub_toml
from deploy.demo.fleet import BRANCH, FLEET, WRISTS, Member
from edge_agent.config import Config, load

PORTS = HubPorts(20_001, 20_002, 20_003)


def test_the_hub_takes_its_config(run_folder: Path) -> None:
    """Ports are as written, and it listens on loopback only."""
    path = run_folder / "hub.toml"
    path.write_text(hub_toml(PORTS))
    config = load_config(path)
    assert (config.grpc.host, config.http.host) == ("127.0.0.1", "127.0.0.1")
    assert (config.grpc.port, config.grpc.enrolment_port, config.http.port) == (20_001, 20_002, 20_003)


def loaded(folder: Path, member: Member) -> Config:
    """An agent's configuration, as the agent reads it."""
    (folder / "agent.toml").write_text(agent_toml(member, PORTS, 20_004))
    (folder / "bindings.toml").write_text(bindings_toml(member, ("127.0.0.1", 20_005)))
    return load(folder / "agent.toml")


@pytest.mark.parametrize("member", FLEET, ids=lambda member: member.name)
def test_an_agent_takes_its_configs(run_folder: Path, member: Member) -> None:
    """No key is unknown; it hears its own senders and nobody else's, and answers where the driver listens."""
    config = loaded(run_folder, member)
    binding = config.bindings.binding[0]
    assert config.agent.device.id == member.name
    assert config.agent.engine.threads is None
    assert (binding.name, binding.pack) == (member.binding, str(member.pack))
    assert binding.template.filter == member.source.filter
    assert binding.result is not None
    assert binding.result.topic == member.results.text
    assert member.name in binding.template.filter.split("/")


@pytest.mark.parametrize("member", WRISTS, ids=lambda member: member.name)
def test_windows_are_those_of_the_split(run_folder: Path, member: Member) -> None:
    """One second at 50 Hz, one after the other."""
    binding = loaded(run_folder, member).bindings.binding[0]
    assert binding.window is not None
    assert binding.payload is not None
    assert (binding.window.size_s, binding.window.hop_s, binding.payload.rate_hz) == (1.0, 1.0, 50.0)


def test_the_branch_reads_images_that_form_and_box_tell_apart(run_folder: Path) -> None:
    """A crop that comes twice is known by them, and answered under the same id."""
    binding = loaded(run_folder, BRANCH).bindings.binding[0]
    assert binding.takes_images
    assert binding.payload is not None
    assert binding.payload.key == ("form", "box")
