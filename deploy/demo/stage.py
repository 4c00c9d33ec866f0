"""Owns the stage: a run folder, free ports; broker, hub and agents made ready by their own commands.

    1. broker        iotcore on a free port
    2. hub           cloud-hub init; packs publish (full models, students); people add; serve
    3. agents        cloud-hub tokens create; edge-agent enrol (identity, site key, packs); edge-agent run

What happens on the stage is `story`'s business.
"""

import http.client
import random
import secrets
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from deploy.demo import broker as broker_program
from deploy.demo import patch_release
from deploy.demo.baselines import layout
from deploy.demo.configs import BROKER, LOOPBACK, HubPorts, agent_toml, bindings_toml, hub_toml
from deploy.demo.fleet import (
    DIGITS_EDGE_PACK,
    DIGITS_HUB_PACK,
    EDGE_PACK,
    HUB_PACK,
    NEXT_EDGE_PACK,
    PATCH,
    SITE,
    AgentName,
    Member,
)
from deploy.demo.hub_api import HubApi
from deploy.demo.programs import Program, ProgramError, installed, run, run_json
from deploy.demo.report import Audit, Login
from deploy.demo.view import Pulse

READY_DEADLINE_S: Final = 60.0
# Below the ports that Linux gives to outgoing connections: there a port is free again after a kill, and a client that
# keeps dialling a dead server cannot connect to itself.
_PORTS: Final = range(20_000, 32_000)
_HTTP_TIMEOUT_S: Final = 2.0
PERSON: Final = "demo"
_FIRST_PACKS: Final = (HUB_PACK, EDGE_PACK, DIGITS_HUB_PACK, DIGITS_EDGE_PACK)
_HUB_PEER: Final = "hub"
_BROKER_PEER: Final = f"mqtt:{BROKER}"


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent on the stage.

    Attributes:
        config: Its agent.toml.
        http: Where its metrics and health are.
    """

    member: Member
    program: Program
    config: Path
    http: tuple[str, int]


class Stage:
    """Everything that runs. `open` it once, `close` it in any state.

    Args:
        folder: The run folder; made.
        fleet: The agents.
        tell: Told each step.
        broker_address: A broker that runs already; None starts one.
    """

    def __init__(
        self,
        folder: Path,
        fleet: Sequence[Member],
        tell: Callable[[str], None],
        broker_address: tuple[str, int] | None = None,
    ) -> None:
        self.folder = folder
        self._tell = tell
        self._logs = folder / "logs"
        ports = free_ports(4 + len(fleet))
        self.broker_address = broker_address or (LOOPBACK, ports[0])
        self._owns_broker = broker_address is None
        self._hub_ports = HubPorts(*ports[1:4])
        self._broker = Program(
            "broker",
            [sys.executable, "-P", str(broker_program.__file__), LOOPBACK, str(ports[0])],
            self._logs / "broker.log",
        )
        self._hub_config = folder / "hub" / "hub.toml"
        serve = [installed("cloud-hub"), "serve", "--config", str(self._hub_config)]
        self.hub = Program("cloud-hub", serve, self._logs / "cloud-hub.log")
        self.api = HubApi((LOOPBACK, self._hub_ports.http), "")
        self.login = Login("", PERSON, "")
        self.agents: dict[AgentName, Agent] = {}
        for member, port in zip(fleet, ports[4:], strict=True):
            config = folder / member.name / "agent.toml"
            argv = [installed("edge-agent"), "run", "--config", str(config)]
            program = Program(f"edge-agent {member.name}", argv, self._logs / f"{member.name}.log")
            self.agents[member.name] = Agent(member, program, config, (LOOPBACK, port))

    def open(self) -> None:
        """Start everything and return when it is ready for the first message.

        Raises:
            ProgramError: Something does not start or get ready; names the program, its last log lines and the log.
            OSError: The folder cannot be written.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        if self._owns_broker:
            self._open_broker()
        self._make_hub()
        self._add_person()
        self.start_hub()
        self._enrol_all()
        for agent in self.agents.values():
            agent.program.start()
        for agent in self.agents.values():
            self.wait_for_agent(agent)

    def close(self) -> list[str]:
        """Stop the agents, the hub and the broker, in this order; may be called twice.

        Returns:
            Programs that did not stop by themselves with exit code 0.
        """
        unwilling = [agent.program.name for agent in self.agents.values() if not agent.program.stop()]
        if not self.hub.stop():
            unwilling.append(self.hub.name)
        self._broker.kill()  # ours, or never started; it has nothing to save and no signal handler
        return unwilling

    def start_hub(self) -> None:
        """Start the hub, or start it again, and wait until it serves."""
        self.hub.start()
        self.hub.wait_until(self.hub_is_ready, "it is ready", READY_DEADLINE_S)

    def wait_for_agent(self, agent: Agent) -> None:
        """Wait until an agent that was started is ready and has its subscription: from then on no message is lost."""

        def is_subscribed() -> bool:
            pulse = self.pulse(agent)
            return pulse is not None and pulse.broker_connected

        agent.program.wait_until(lambda: is_ready(agent.http), "it is ready", READY_DEADLINE_S)
        agent.program.wait_until(is_subscribed, "it is subscribed at the broker", READY_DEADLINE_S)

    def hub_is_ready(self) -> bool:
        """Whether the hub serves."""
        return is_ready((LOOPBACK, self._hub_ports.http))

    def pulse(self, agent: Agent) -> Pulse | None:
        """How an agent is just now; None when it does not answer."""
        page = fetch(agent.http, "/metrics")
        return None if page is None or page[0] != http.client.OK else read_pulse(page[1])

    def release(self) -> None:
        """Publish the second student and its patch, and damage the patch in the hub's store.

        Raises:
            ProgramError: A pack cannot be published.
            PackError: The shipped layout is damaged.
            OSError: The disk refuses.
        """
        patch = self.folder / "patch"
        patch_release.build(patch)
        self._publish(layout(NEXT_EDGE_PACK), patch)
        patch_release.damage(self._hub_config.parent / "packs", PATCH)

    def audits(self) -> dict[AgentName, Audit]:
        """Ask every agent's `edge-agent audit --json`, side by side."""
        with ThreadPoolExecutor(len(self.agents)) as pool:
            return dict(zip(self.agents, pool.map(self._audit, self.agents.values()), strict=True))

    def _open_broker(self) -> None:
        host, port = self.broker_address
        self._tell(f"broker: iotcore on {host}:{port}")
        self._broker.start()
        self._broker.wait_until(lambda: is_listening(self.broker_address), "it listens", READY_DEADLINE_S)

    def _make_hub(self) -> None:
        self._tell("hub: cloud-hub init, publish the full models and the first students, add a person, serve")
        self._cloud_hub("init", str(self._hub_config.parent), config=False)
        self._hub_config.write_text(hub_toml(self._hub_ports))
        self._publish(*map(layout, _FIRST_PACKS))

    def _add_person(self) -> None:
        """Somebody who may do everything at the console, with a password of this run's own."""
        password = secrets.token_urlsafe(9)
        file = self.folder / "password"
        file.touch(0o600)
        file.write_text(password)
        self._cloud_hub("people", "add", PERSON, "--role", "operator", "--password-file", str(file))
        file.unlink()
        address = (LOOPBACK, self._hub_ports.http)
        self.login = Login(f"http://{LOOPBACK}:{address[1]}/", PERSON, password)
        self.api = HubApi(address, self._cloud_hub("people", "token", PERSON).strip())

    def _publish(self, *layouts: Path) -> None:
        self._cloud_hub("packs", "publish", *map(str, layouts))

    def _cloud_hub(self, *arguments: str, config: bool = True) -> str:
        """Run a command of the hub to its end; give back what it printed."""
        tail = ["--config", str(self._hub_config)] if config else []
        return run([installed("cloud-hub"), *arguments, *tail], self._logs / "cloud-hub-commands.log")

    def _enrol_all(self) -> None:
        """One join token for all; they enrol side by side."""
        agents = list(self.agents.values())
        self._tell(f"{len(agents)} agents: a join token, edge-agent enrol (identity, site key, packs)")
        token = self._cloud_hub("tokens", "create", "--site", SITE, "--uses", str(len(agents))).strip()
        for agent in agents:
            agent.config.parent.mkdir(parents=True)
            agent.config.write_text(agent_toml(agent.member, self._hub_ports, agent.http[1]))
            agent.config.with_name("bindings.toml").write_text(bindings_toml(agent.member, self.broker_address))
        with ThreadPoolExecutor(len(agents)) as pool:
            list(pool.map(partial(self._enrol, token), agents))

    def _enrol(self, token: str, agent: Agent) -> None:
        argv = [installed("edge-agent"), "enrol", "--config", str(agent.config), "--token", token]
        run(argv, self._logs / f"{agent.member.name}-enrol.log")

    def _audit(self, agent: Agent) -> Audit:
        argv = [installed("edge-agent"), "audit", "--config", str(agent.config), "--json"]
        return read_audit(run_json(argv, self._logs / f"{agent.member.name}-audit.log", accepted=(0, 1)))


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, all different."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise ProgramError(f"no {count} free ports between {_PORTS.start} and {_PORTS.stop} on {LOOPBACK}")


def is_listening(address: tuple[str, int]) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection(address, timeout=_HTTP_TIMEOUT_S):
            return True
    except OSError:
        return False


def fetch(address: tuple[str, int], path: str) -> tuple[int, str] | None:
    """GET a page.

    Returns:
        Status and text; None when nobody answers.
    """
    connection = http.client.HTTPConnection(*address, timeout=_HTTP_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def is_ready(address: tuple[str, int]) -> bool:
    """Whether a program's `/readyz` says yes."""
    page = fetch(address, "/readyz")
    return page is not None and page[0] == http.client.OK


def read_pulse(metrics: str) -> Pulse:
    """What an agent's metrics page says about its outbox, its hub and its broker.

    Args:
        metrics: Prometheus text format.
    """
    samples = [sample for family in text_string_to_metric_families(metrics) for sample in family.samples]
    items = sum(sample.value for sample in samples if sample.name == "edge_outbox_items")
    up = {sample.labels["peer"] for sample in samples if sample.name == "edge_link_up" and sample.value == 1}
    return Pulse(int(items), hub_connected=_HUB_PEER in up, broker_connected=_BROKER_PEER in up)


def read_audit(document: Mapping[str, Any]) -> Audit:
    """What `edge-agent audit --json` says.

    Args:
        document: The object that it printed.
    """
    equations = document["equations"]
    broken = tuple(f"{equation['name']} ({equation['binding']})" for equation in equations if not equation["holds"])
    return Audit(len(equations), broken, document)
