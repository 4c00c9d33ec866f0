"""Owns a whole small site of real processes: a hub, agents, and what their sensors send.

Everything is made ready by the programs' own commands, as a person would do it. The packs are tiny, so that a site is
up in seconds: unless a certificate is given, the student asks the hub about every window. What is shown is the tests'
part.
"""

import http.client
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NewType

import numpy as np
from numpy.typing import NDArray

from model_packs.certificate.document import Certificate
from tests.simulators.brokers import Broker
from tests.simulators.mqtt_probe import Message, MqttProbe
from tests.simulators.network import LOOPBACK, free_port
from tests.simulators.packs import CHANNELS, SAMPLES, build_tiny
from tests.simulators.processes import Process, installed_program, run_to_end
from tests.simulators.waiting import wait_until

BINDING = "motion"
EDGE_PACK, HUB_PACK = "tiny-edge@1.0.0", "tiny-hub@1.0.0"
SITE_NAME = "plant"

DEADLINE_S = 30.0
_HTTP_TIMEOUT_S = 2.0
_NS_PER_S = 1_000_000_000

PredictionId = NewType("PredictionId", str)

_HUB_TOML = """\
[grpc]
host = "{host}"
port = {grpc}
enrolment_port = {enrolment}

[http]
host = "{host}"
port = {http}

[fleet]
heartbeat_interval_s = 0.5
"""

_AGENT_TOML = """\
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

_BINDINGS_TOML = """\
[mqtt.site]
url = "mqtt://{host}:{mqtt}"
client_id = "{name}"
version = "{version}"

[[binding]]
name = "{binding}"
broker = "site"
pack = "{pack}"
topic = "plant/{name}/{{machine}}/raw"
qos = 1
partition = ["machine"]
egress = "tensor"

[binding.payload]
codec = "json_vectors"
samples = "samples"
start = "t0"
start_format = "iso8601"
rate_hz = {rate_hz}
key = ["seq"]
missing = "reject"

[binding.window]
size_s = 1.0
hop_s = 1.0

[binding.result]
topic = "plant/{name}/{{machine}}/inference"
qos = 1
"""


class CommandError(AssertionError):
    """A command of a program failed; holds what it printed."""


def command(program: str, *arguments: str, cwd: Path, exits: tuple[int, ...] = (0,)) -> str:
    """Run a program's command to its end and return its stdout.

    Raises:
        CommandError: It exited with another status than those of `exits`.
    """
    finished = run_to_end([installed_program(program), *arguments], cwd=cwd)
    if finished.returncode not in exits:
        shown = " ".join([program, *arguments])
        raise CommandError(f"{shown}\nended with {finished.returncode}:\n{finished.stdout}{finished.stderr}")
    return finished.stdout


@dataclass(frozen=True, slots=True)
class HubPorts:
    """Where the hub listens."""

    grpc: int
    enrolment: int
    http: int


def found_hub(folder: Path, certificate: Certificate | None = None) -> Path:
    """Make a hub in ``folder / "hub"`` with the tiny packs published, by its own commands; return that path.

    A hub's folder may be copied: many tests share one founding. The student keeps what its certificate says.
    """
    hub = folder / "hub"
    command("cloud-hub", "init", str(hub), cwd=folder)
    student, teacher = folder / "student", folder / "teacher"
    student.mkdir()
    teacher.mkdir()
    build_tiny(student, certificate=certificate)
    build_tiny(teacher, seed=11, name="tiny-hub", role="hub", escalates_to=None)
    layouts = [str(sources / "layout") for sources in (teacher, student)]
    command("cloud-hub", "packs", "publish", *layouts, "--config", str(hub / "hub.toml"), cwd=folder)
    return hub


class Hub:
    """A hub in ``folder``, founded there or copied: started, killed and started again at will."""

    def __init__(self, folder: Path, founded: Path | None = None) -> None:
        self.folder = folder / "hub"
        self.config = self.folder / "hub.toml"
        self.ports = HubPorts(free_port(), free_port(), free_port())
        self._founded = founded
        self._work = folder
        self.process = Process(
            [installed_program("cloud-hub"), "serve", "--config", str(self.config)],
            log_path=folder / "cloud-hub.log",
            cwd=folder,
        )

    def prepare(self) -> None:
        """Found the hub, or copy the founded one, and give it ports of its own."""
        if self._founded is None:
            found_hub(self._work)
        else:
            shutil.copytree(self._founded, self.folder)
        self.configure()

    def configure(self) -> None:
        """Write its settings anew, with its own ports."""
        ports = {"grpc": self.ports.grpc, "enrolment": self.ports.enrolment, "http": self.ports.http}
        self.config.write_text(_HUB_TOML.format(host=LOOPBACK, **ports))

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.process.start()
        wait_ready(self.process, self.ports.http)

    def token(self) -> str:
        """A fresh join token for one device."""
        printed = command(
            "cloud-hub", "tokens", "create", "--site", SITE_NAME, "--config", str(self.config), cwd=self._work
        )
        return printed.strip().splitlines()[-1]

    def devices(self) -> dict[str, Any]:
        """What ``cloud-hub devices list --json`` prints."""
        printed = command("cloud-hub", "devices", "list", "--json", "--config", str(self.config), cwd=self._work)
        document: dict[str, Any] = json.loads(printed)
        return document


class Agent:
    """An agent in a folder of its own: configured, then enrolled, started, killed and started again at will."""

    def __init__(self, folder: Path, name: str, broker: Broker, hub: Hub, more_bindings: str = "") -> None:
        self.name = name
        self.folder = folder / name
        self.config = self.folder / "agent.toml"
        self.http_port = free_port()
        self._hub = hub
        self._work = folder
        self.process = Process(
            [installed_program("edge-agent"), "run", "--config", str(self.config)],
            log_path=folder / f"{name}.log",
            cwd=folder,
        )
        self.folder.mkdir()
        ports = {"grpc": hub.ports.grpc, "enrolment": hub.ports.enrolment, "http": self.http_port}
        self.config.write_text(_AGENT_TOML.format(name=name, host=LOOPBACK, **ports))
        bindings = _BINDINGS_TOML.format(
            name=name,
            host=broker.host,
            mqtt=broker.port,
            version="auto" if broker.speaks_mqtt5 else "3.1.1",
            binding=BINDING,
            pack=EDGE_PACK,
            rate_hz=SAMPLES,
        )
        self.folder.joinpath("bindings.toml").write_text(bindings + more_bindings)

    @property
    def results(self) -> str:
        """The filter of its result topics."""
        return f"plant/{self.name}/+/inference"

    def enrol(self) -> None:
        """Get an identity, the site key and the packs."""
        command("edge-agent", "enrol", "--config", str(self.config), "--token", self._hub.token(), cwd=self._work)

    def start(self) -> None:
        """Start it and wait until it is ready and listens to its topics: what is published before is not for it."""
        self.process.start()
        wait_ready(self.process, self.http_port)
        wait_until(self._listens, DEADLINE_S, f"{self.name} on its broker, see {self.process.log_path}")

    def _listens(self) -> bool:
        return 'edge_link_up{peer="mqtt:site"} 1.0' in http_get(self.http_port, "/metrics")[1]

    def status(self) -> dict[str, Any]:
        """What ``edge-agent status --json`` prints."""
        return self._document("status")

    def audit(self) -> dict[str, Any]:
        """What ``edge-agent audit --json`` prints, also when an equation does not hold (exit status 1)."""
        return self._document("audit", exits=(0, 1))

    def _document(self, name: str, exits: tuple[int, ...] = (0,)) -> dict[str, Any]:
        arguments = [name, "--json", "--config", str(self.config)]
        document: dict[str, Any] = json.loads(command("edge-agent", *arguments, cwd=self._work, exits=exits))
        return document


class Site:
    """A broker's neighbourhood: one hub and its agents. ``close()`` kills what runs."""

    def __init__(self, folder: Path, broker: Broker, founded: Path | None = None) -> None:
        self._folder = folder
        self._broker = broker
        self.hub = Hub(folder, founded)
        self.agents: list[Agent] = []

    def open(self) -> None:
        """Make the hub and start it."""
        self.hub.prepare()
        self.hub.start()

    def agent(self, name: str, more_bindings: str = "") -> Agent:
        """Add an enrolled agent, with bindings (TOML) beside the one of samples; it is not started."""
        agent = Agent(self._folder, name, self._broker, self.hub, more_bindings)
        self.agents.append(agent)
        agent.enrol()
        return agent

    def close(self) -> None:
        """Kill every process of the site."""
        for agent in self.agents:
            agent.process.kill()
        self.hub.process.kill()


class Sensor:
    """One machine's sensor: sends whole seconds of samples, one message a second of event time, at QoS 1."""

    def __init__(self, probe: MqttProbe, agent: Agent, machine: str = "m1", *, start_s: int) -> None:
        self._probe = probe
        self.topic = f"plant/{agent.name}/{machine}/raw"
        self._next_s = start_s
        self._random = np.random.default_rng(start_s)

    def send(self, windows: int) -> None:
        """Send the samples of the next ``windows`` windows; each is full with its last sample."""
        for _ in range(windows):
            self.send_second(self._next_s)
            self._next_s += 1

    def send_windows(self, windows: Iterable[NDArray[np.float64]]) -> None:
        """Send these as the next windows; each is [samples, channels]."""
        for samples in windows:
            self._send(self._next_s, samples)
            self._next_s += 1

    def send_second(self, second: int) -> None:
        """Send one second of samples that starts at ``second`` of the Unix epoch."""
        self._send(second, self._random.normal(size=(SAMPLES, CHANNELS)).round(3))

    def _send(self, second: int, samples: NDArray[np.float64]) -> None:
        start = datetime.fromtimestamp(second, UTC).isoformat().replace("+00:00", "Z")
        self._probe.publish(self.topic, json.dumps({"t0": start, "seq": second, "samples": samples.tolist()}))


def wait_ready(process: Process, http_port: int) -> None:
    """Wait until ``/readyz`` of a program answers 200."""

    def ready() -> bool:
        if not process.is_running:
            raise AssertionError(f"{process.argv} ended at start:\n{process.log}")
        return http_get(http_port, "/readyz")[0] == http.client.OK

    wait_until(ready, DEADLINE_S, f"/readyz of {process.argv[0]}, see {process.log_path}")


def http_get(port: int, path: str) -> tuple[int, str]:
    """GET a page of 127.0.0.1; status 0 when nobody answers."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_HTTP_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def latest(messages: Iterable[Message]) -> dict[PredictionId, dict[str, Any]]:
    """The event of the highest revision of each prediction."""
    found: dict[PredictionId, dict[str, Any]] = {}
    for message in messages:
        event = message.json()
        prediction_id = PredictionId(event["id"])
        if prediction_id not in found or event["revision"] > found[prediction_id]["revision"]:
            found[prediction_id] = event
    return found


def wait_for_latest(
    probe: MqttProbe, agent: Agent, count: int, fact: Callable[[dict[str, Any]], bool], what: str
) -> dict[PredictionId, dict[str, Any]]:
    """Wait until ``count`` predictions of an agent are there and the latest event of each is as ``fact`` says."""

    def reached() -> dict[PredictionId, dict[str, Any]] | None:
        found = latest(probe.on(agent.results))
        return found if len(found) >= count and all(map(fact, found.values())) else None

    found = wait_until(reached, DEADLINE_S, what)
    assert found is not None
    return found
