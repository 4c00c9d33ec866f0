"""Owns the config files that the demo writes for the programs: short, with what differs from the defaults.

The commented samples with every key are in deploy/samples/.
"""

from dataclasses import dataclass
from typing import Final

from deploy.demo.baselines import EDGE_PACK
from deploy.demo.fleet import BINDING, Member

LOOPBACK: Final = "127.0.0.1"
BROKER: Final = "site"

_HUB_TOML: Final = """\
# Written by the demo; deploy/samples/hub.toml explains every key.
[grpc]
host = "{host}"
port = {grpc}
enrolment_port = {enrolment}

[http]
host = "{host}"
port = {http}
"""

_AGENT_TOML: Final = """\
# Written by the demo; deploy/samples/agent.toml explains every key.
bindings = "bindings.toml"

[device]
id = "{name}"
state_dir = "state"

[hub]
address = "{host}:{grpc}"
enrol_address = "{host}:{enrolment}"

[http]
listen = "{host}:{http}"
"""

_BINDINGS_TOML: Final = """\
# Written by the demo; deploy/samples/bindings.toml explains every key.
[mqtt.{broker}]
url = "mqtt://{host}:{mqtt}"
client_id = "{name}"
version = "3.1.1"

[[binding]]
name = "{binding}"
broker = "{broker}"
pack = "{pack}"
topic = "{topic}"
qos = 1
partition = ["person"]
egress = "tensor"

[binding.payload]
codec = "json_vectors"
samples = "samples"
start = "t0"
start_format = "iso8601"
rate_hz = 50
key = ["seq"]
missing = "reject"

[binding.window]
size_s = 1.0
hop_s = 1.0

[binding.result]
topic = "{result}"
qos = 1
"""


@dataclass(frozen=True, slots=True)
class HubPorts:
    """Where the hub listens, on loopback."""

    grpc: int
    enrolment: int
    http: int


def hub_toml(hub: HubPorts) -> str:
    """The hub's `hub.toml`."""
    return _HUB_TOML.format(host=LOOPBACK, grpc=hub.grpc, enrolment=hub.enrolment, http=hub.http)


def agent_toml(member: Member, hub: HubPorts, http_port: int) -> str:
    """An agent's `agent.toml`.

    Args:
        member: The agent.
        hub: Where the hub is.
        http_port: For its metrics and health.
    """
    return _AGENT_TOML.format(name=member.name, host=LOOPBACK, grpc=hub.grpc, enrolment=hub.enrolment, http=http_port)


def bindings_toml(member: Member, broker: tuple[str, int]) -> str:
    """An agent's `bindings.toml`.

    Args:
        member: The agent.
        broker: Where the MQTT broker is.
    """
    return _BINDINGS_TOML.format(
        host=broker[0],
        mqtt=broker[1],
        broker=BROKER,
        name=member.name,
        binding=BINDING,
        pack=EDGE_PACK,
        topic=member.source.text,
        result=member.results.text,
    )
