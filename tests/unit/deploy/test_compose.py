"""The compose file and what it mounts: valid, closed where it says so, and readable by the programs themselves.

No container engine runs here. `compose-spec.json` is the Compose specification's own schema (compose-spec/compose-spec
at 170098b, Apache-2.0).
"""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cloud_hub.cli import parser as hub_parser
from cloud_hub.config import load_config
from edge_agent.cli import parser as agent_parser
from tests.simulators.brokers import Mosquitto
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.waiting import wait_until

REPOSITORY = Path(__file__).parents[3]
FOLDER = REPOSITORY / "deploy" / "compose"
SCHEMA = Path(__file__).with_name("compose-spec.json")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of compose.yaml."""
    document: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).validate(document)
    found: dict[str, Any] = document["services"]
    return found


def test_it_is_a_hub_and_a_broker(services: dict[str, Any]) -> None:
    """The file follows the specification's schema and holds these two."""
    assert set(services) == {"hub", "broker"}


def test_every_mounted_file_exists(services: dict[str, Any]) -> None:
    """A relative source that is not there would become an empty folder in the container."""
    sources = [volume.split(":")[0] for service in services.values() for volume in service["volumes"]]
    files = [source for source in sources if source.startswith(".")]
    assert len(files) == 4
    assert [source for source in files if not (FOLDER / source).exists()] == []


def test_what_has_no_tls_is_on_the_hosts_loopback_only(services: dict[str, Any]) -> None:
    """MQTT without a password and the console without TLS are not for the network."""
    published = [port for service in services.values() for port in service["ports"]]
    assert sorted(published) == ["127.0.0.1:1883:1883", "127.0.0.1:8080:8080", "8443:8443", "8444:8444"]


def test_the_hub_writes_to_its_volume_only(services: dict[str, Any]) -> None:
    """The root is read-only, no capability is left, and state_dir lies on the volume."""
    hub = services["hub"]
    assert (hub["read_only"], hub["cap_drop"]) == (True, ["ALL"])
    config = load_config(FOLDER / "hub.toml")
    assert "hub:/var/lib/tandem-hub" in hub["volumes"]
    assert config.state_dir == Path("/var/lib/tandem-hub/hub")


def test_the_hubs_ports_are_those_of_its_config(services: dict[str, Any]) -> None:
    """What is published is what it listens on."""
    config = load_config(FOLDER / "hub.toml")
    inside = {int(port.split(":")[-1]) for port in services["hub"]["ports"]}
    assert inside == {config.grpc.port, config.grpc.enrolment_port, config.http.port}
    assert f":{config.http.port}/readyz" in services["hub"]["healthcheck"]["test"][-1]


def test_the_broker_starts_with_the_mounted_files(services: dict[str, Any], run_folder: Path) -> None:
    """A real mosquitto takes both files, in the places where the container has them, and passes a message on."""
    mounts = dict(volume.removesuffix(":ro").split(":") for volume in services["broker"]["volumes"])
    inside = run_folder / "mosquitto" / "config"
    for source, place in mounts.items():
        if source.startswith("."):
            target = run_folder / place.removeprefix("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text((FOLDER / source).read_text())
    text = (inside / "mosquitto.conf").read_text()
    own = re.sub(r"^(listener|allow_anonymous|persistence_location) .*$", "", text, flags=re.MULTILINE)
    broker = Mosquitto(run_folder, config=own.replace("/mosquitto/config", str(inside)))
    broker.start()
    try:
        with MqttProbe(broker) as probe:
            probe.subscribe("a")
            probe.publish("a", b"b")
            wait_until(lambda: probe.messages, 30, "the message")
    finally:
        broker.kill()


@pytest.mark.parametrize(("target", "parser"), [("hub", hub_parser), ("agent", agent_parser)])
def test_an_image_starts_its_program(target: str, parser: Any) -> None:  # noqa: ANN401 - two programs' parser factories
    """Entry point and arguments are a command that the program has; it does not run as root."""
    stages = re.split(r"^FROM \S+ AS ", (FOLDER / "Dockerfile").read_text(), flags=re.MULTILINE)
    stage = next(stage for stage in stages if stage.startswith(f"{target}\n"))
    program = json.loads(re.findall(r"^ENTRYPOINT (.*)$", stage, re.MULTILINE)[0])
    assert program == [parser().prog]
    parser().parse_args(json.loads(re.findall(r"^CMD (.*)$", stage, re.MULTILINE)[0]))
    assert re.findall(r"^USER (.*)$", stage, re.MULTILINE)[0] != "root"


def test_the_wheel_finds_what_it_is_made_of() -> None:
    """The build context lets through every package and file that pyproject.toml names."""
    let_through = {
        line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    assert let_through == {"pyproject.toml", "README.md", "LICENSE", "edge_agent", "cloud_hub", "protos", "model_packs"}
    assert [name for name in let_through if not (REPOSITORY / name).exists()] == []
