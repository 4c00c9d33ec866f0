"""Owns the config files that the demo writes for the programs: short, with what differs from the defaults.

The commented samples with every key are in deploy/samples/.
"""

from dataclasses import dataclass
from typing import Final

from deploy.demo.fleet import Branch, Member

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

[fleet]
heartbeat_interval_s = {heartbeat_s}
trend_bucket_s = {bucket_s}
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

[packs]
bake_s = {bake_s}

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
egress = "tensor"
{kind}
[binding.result]
topic = "{result}"
qos = 1
"""

_WATCHES_TOML: Final = """\
partition = ["person"]

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
"""

_FORMS_TOML: Final = """\
partition = []

[binding.payload]
codec = "image"
key = ["form", "box"]
"""

# Faster than on a site, so that a demo of two minutes shows it.
_HEARTBEAT_S: Final = 2.0
_BUCKET_S: Final = 5.0
_BAKE_S: Final = 6.0


@dataclass(frozen=True, slots=True)
class HubPorts:
    """Where the hub listens, on loopback."""

    grpc: int
    enrolment: int
    http: int


def hub_toml(hub: HubPorts) -> str:
    """The hub's `hub.toml`."""
    return _HUB_TOML.format(
        host=LOOPBACK,
        grpc=hub.grpc,
        enrolment=hub.enrolment,
        http=hub.http,
        heartbeat_s=_HEARTBEAT_S,
        bucket_s=_BUCKET_S,
    )


def agent_toml(member: Member, hub: HubPorts, http_port: int) -> str:
    """An agent's `agent.toml`.

    Args:
        member: The agent.
        hub: Where the hub is.
        http_port: For its metrics and health.
    """
    return _AGENT_TOML.format(
        name=member.name, host=LOOPBACK, grpc=hub.grpc, enrolment=hub.enrolment, http=http_port, bake_s=_BAKE_S
    )


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
        binding=member.binding,
        pack=member.pack,
        kind=_FORMS_TOML if isinstance(member, Branch) else _WATCHES_TOML,
        topic=member.source.text,
        result=member.results.text,
    )
