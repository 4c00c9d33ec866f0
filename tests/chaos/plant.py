"""Owns the world of a scenario: a hub, an agent, mosquitto as we ship it, bad networks between them, and the books.

Everything is a real program on this machine. Between the agent and each of its peers stands a `ToxicProxy`; the oracle
and the listener talk to the broker past it, so that a bad network is the agent's alone. What goes wrong is the
scenario's; `finish` is the time without faults after it, and the checks.
"""

import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

from model_packs.process.crash_points import VARIABLE
from tests.chaos.disks import Disk
from tests.chaos.ledger import Balance, applied_at, balance, items_of
from tests.chaos.listener import Listener
from tests.chaos.oracle import Oracle, Sent
from tests.chaos.vitals import OutboxWatch, StoreView, Vitals, is_flat
from tests.simulators.brokers import Mosquitto
from tests.simulators.processes import Process
from tests.simulators.seeds import seeded
from tests.simulators.site import Agent, Hub, found_hub, http_get
from tests.simulators.toxics import ToxicProxy
from tests.simulators.waiting import wait_until

DEVICE = "press-07"
REPOSITORY = Path(__file__).parents[2]
DEADLINE_S = 60.0
GROWS_BYTES = 48 << 20

_LOAD_HZ = 20.0
_QUIET_S = 1.0


class ChaosError(AssertionError):
    """A scenario's checks failed."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a scenario is given.

    Attributes:
        folder: An empty folder of its own.
        founded: What `found` made, to copy.
        seed: Decides everything that chance decides.
        scale: How much longer than usual; 1.0 is `make chaos`.
    """

    folder: Path
    founded: Path
    seed: int
    scale: float = 1.0

    def times(self, count: int) -> int:
        """So many, scaled."""
        return max(1, round(count * self.scale))


def state_of(setting: Setting) -> Path:
    """Where the agent of a scenario keeps its state."""
    return setting.folder / DEVICE / "state"


def found(folder: Path) -> Path:
    """Make a hub with a device enrolled at it, by their own commands: each scenario copies them; return the folder."""
    broker = Mosquitto(folder)  # named in the agent's files, and not needed to enrol
    found_hub(folder)
    hub = Hub(folder)
    hub.configure()
    hub.start()
    try:
        Agent(folder, DEVICE, broker, hub).enrol()
    finally:
        hub.process.kill()
    return folder


class Plant:
    """A running site. Use it as a context manager: it opens with hub, broker, oracle and listener, and no agent.

    Args:
        setting: Where, with which seed.
        more: TOML to add to agent.toml, for a scenario's own bounds.
        disk: Where the agent's state lies, instead of the disk of everything else; made for `state_of(setting)`.
        environ: More of it for the agent.
    """

    def __init__(
        self, setting: Setting, more: str = "", disk: Disk | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self.setting = setting
        self.chance = seeded(setting.seed)
        self._closing = ExitStack()
        self._more = more
        self._disk = disk
        self._environ = environ
        self.broker = Mosquitto(setting.folder)
        self.hub = Hub(setting.folder, setting.founded / "hub")
        self.oracle = Oracle(self.broker, DEVICE, setting.seed)
        self.listener = Listener(self.broker, DEVICE)
        self._before: Vitals | None = None

    def __enter__(self) -> Self:
        """Open everything but the agent, which is enrolled and not started."""
        try:
            self._open()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        """Kill what runs."""
        self._closing.close()

    def _open(self) -> None:
        folder = self.setting.folder
        self._closing.callback(self.broker.kill)
        self.broker.start()
        self.hub.prepare()
        self._closing.callback(self.hub.process.kill)
        self.hub.start()
        self.hub_link = self._closing.enter_context(ToxicProxy(self.hub.ports.grpc, self.setting.seed))
        self.broker_link = self._closing.enter_context(ToxicProxy(self.broker.port, self.setting.seed))
        self.agent = Agent(folder, DEVICE, self.broker, self.hub)
        self.agent.process = Process(
            self.agent.process.argv, log_path=self.agent.process.log_path, cwd=folder, environ=self._environ
        )
        if self._disk is not None:
            self._closing.enter_context(self._disk)
        shutil.copytree(self.setting.founded / DEVICE / "state", state_of(self.setting), dirs_exist_ok=True)
        os.sync()  # an enrolment has synced what it wrote, a copy has not
        for path, port, proxy in (
            (self.agent.config, self.hub.ports.grpc, self.hub_link),
            (self.agent.folder / "bindings.toml", self.broker.port, self.broker_link),
        ):
            path.write_text(path.read_text().replace(f":{port}", f":{proxy.port}"))
        self.agent.config.write_text(self.agent.config.read_text() + self._more)
        self.store = StoreView(state_of(self.setting) / "edge.db")
        self.watch = OutboxWatch(self.store)
        self._closing.callback(self.agent.process.kill)
        for part in (self.watch, self.oracle, self.listener):
            self._closing.callback(part.close)
            part.open()

    def start_agent(self) -> None:
        """Start the agent and wait until it listens."""
        self.agent.start()
        self._before = None

    def wait_for_late_samples(self, lateness_s: float) -> None:
        """Let open windows wait so long: for a broker that gives what it kept in another order."""
        path = self.agent.folder / "bindings.toml"
        path.write_text(path.read_text().replace("hop_s = 1.0", f"hop_s = 1.0\nlateness_s = {lateness_s}"))

    def hold_when_the_disk_fails(self) -> None:
        """Let the agent acknowledge nothing that it could not write, instead of counting it as shed."""
        path = self.agent.folder / "bindings.toml"
        path.write_text(path.read_text().replace("partition =", 'on_journal_failure = "hold"\npartition =', 1))

    def run_instead(self, module: str, *arguments: str) -> None:
        """From now on the agent is this module of ours, which takes the config's path and these arguments."""
        argv = [sys.executable, "-m", module, str(self.agent.config), *arguments]
        self.agent.process = Process(argv, log_path=self.agent.process.log_path, cwd=REPOSITORY)
        self._closing.callback(self.agent.process.kill)

    def clone(self) -> Agent:
        """Another agent with this one's identity and packs, and with a store of its own; it is not started."""
        folder = self.setting.folder / "clone"
        folder.mkdir()
        clone = Agent(folder, DEVICE, self.broker, self.hub)
        shutil.copytree(self.setting.founded / DEVICE / "state", clone.folder / "state")
        self._closing.callback(clone.process.kill)
        return clone

    def is_told(self, text: str) -> bool:
        """Whether the agent's status names this as a problem, or its log did."""
        return text in self.agent.process.log

    def crash_agent(self, crash_at: str) -> None:
        """Let the agent end itself at a named moment, under as much load as it takes to get there."""
        doomed = self._doomed(self.agent.process, crash_at)
        self._load_until(lambda: not doomed.is_running, f"the agent's end at {crash_at}")

    def crash_hub(self, crash_at: str) -> None:
        """The same for the hub, whose agent runs; the hub is not started again."""
        self.hub.process.kill()
        doomed = self._doomed(self.hub.process, crash_at)
        self._load_until(lambda: not doomed.is_running, f"the hub's end at {crash_at}")

    def _doomed(self, like: Process, crash_at: str) -> Process:
        log_path = like.log_path.with_suffix(f".{crash_at.replace(':', '-')}.log")
        doomed = Process(like.argv, log_path=log_path, cwd=self.setting.folder, environ={VARIABLE: crash_at})
        self._closing.callback(doomed.kill)
        doomed.start()
        return doomed

    def _load_until(self, reached: Callable[[], bool], what: str) -> None:
        with self.oracle.streaming(_LOAD_HZ):
            wait_until(reached, DEADLINE_S, what)

    def pause(self, least_s: float, most_s: float | None = None) -> None:
        """Let the world go on for a while; between two bounds, as the seed decides."""
        time.sleep(least_s if most_s is None else self.chance.uniform(least_s, most_s))

    def require(self, fact: bool, otherwise: str) -> None:  # noqa: FBT001 - as `assert`
        """Fail the scenario unless something is so."""
        if not fact:
            raise ChaosError(otherwise)

    def warm(self, windows: int = 20) -> None:
        """Send some windows through everything, then remember what the programs cost."""
        self.oracle.send(windows)
        self.oracle.settle()
        self.drain()
        self._before = Vitals.of(self.agent.process.pid)

    def drain(self, deadline_s: float = DEADLINE_S) -> float:
        """Wait until every obligation is revised at the site and nothing waits anywhere; how long that took."""
        began_s = time.monotonic()
        owed = len(self.oracle.acked)
        wait_until(lambda: self.listener.count(1) >= owed, deadline_s, f"a revised answer to each of {owed} messages")
        self._wait_for_nothing(lambda: self.store.pending() == 0, deadline_s)
        return time.monotonic() - began_s

    def is_up(self, peer: str) -> bool:
        """Whether the agent holds a peer for reachable: `hub` or `mqtt:site`."""
        return f'edge_link_up{{peer="{peer}"}} 1.0' in http_get(self.agent.http_port, "/metrics")[1]

    def wait_link(self, peer: str, *, up: bool, deadline_s: float = DEADLINE_S) -> float:
        """Wait until the agent has noticed; how long it took."""
        began_s = time.monotonic()
        wait_until(lambda: self.is_up(peer) is up, deadline_s, f"{peer} {'up' if up else 'down'}")
        return time.monotonic() - began_s

    def wait_answers(self) -> float:
        """Wait until the site has an answer, of whomever, to each message; how long it took."""
        began_s = time.monotonic()
        owed = len(self.oracle.acked)
        wait_until(lambda: self.listener.count(0) >= owed, DEADLINE_S, f"an answer to each of {owed} messages")
        return time.monotonic() - began_s

    def revised_at(self) -> dict[str, float]:
        """When the site first heard a better answer to a prediction, on the monotonic clock."""
        return {name: one.revised_s for name, one in self.listener.heard().items() if one.revised_s is not None}

    def quieten(self) -> None:
        """Wait until nothing waits in the agent and nothing new comes to the site."""
        quiet = Quiet(lambda: (self.store.pending(), self.listener.messages, self.listener.is_listening))

        def is_quiet() -> bool:
            return self.listener.is_listening and quiet.holds() and self.store.pending() == 0

        self._wait_for_nothing(is_quiet, DEADLINE_S)

    def _wait_for_nothing(self, condition: Callable[[], bool], deadline_s: float) -> None:
        """Wait for an agent that has done all; who waits in vain is told what is left."""
        try:
            wait_until(condition, deadline_s, "an agent that waits for nothing")
        except AssertionError as error:
            raise ChaosError(f"{error}; waiting: {self.store.waiting()}") from error

    def count_of(self, name: str) -> int:
        """The sum of an audit's counter over its reasons."""
        terms = [term for one in self.agent.audit()["equations"] for term in one["terms"]]
        return sum(int(term["value"]) for term in terms if term["name"].partition("{")[0] == name)

    def order_kept(self) -> bool:
        """Whether the hub's items of each machine, by seq, are in the order of their windows."""
        rows = items_of(self.hub.folder, DEVICE)
        machines = {partition for partition, _, _ in rows}
        return all(
            [start for p, _, start in sorted(rows, key=lambda row: row[1]) if p == machine]
            == sorted(start for p, _, start in rows if p == machine)
            for machine in machines
        )

    @contextmanager
    def stopped(self, pid: int) -> Iterator[None]:
        """A process that is there and does nothing, for the time of a block."""
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def p99_ms(self, after: int = 0) -> float:
        """Of the agent's own answers, from the arrival of a message to the decision, past the first `after`."""
        latencies = [ms for one in self.listener.heard().values() for ms in one.latencies_ms][after:]
        return sorted(latencies)[math.ceil(0.99 * len(latencies)) - 1] if latencies else math.nan

    def finish(
        self,
        *,
        excused: Sequence[Sent] = (),
        others: Mapping[str, Sent] = MappingProxyType({}),
        deadline_s: float = DEADLINE_S,
        drained: bool = True,
    ) -> "tuple[Balance, list[str]]":
        """The time without faults: everything is delivered; then the checks, which raise together.

        Args:
            excused: Obligations that nobody has to meet.
            others: As `ledger.balance`.
            deadline_s: For the delivery.
            drained: Whether to wait for a revised answer to each message; else the scenario has waited itself.

        Returns:
            The balance, and figures for the scenario's line.

        Raises:
            ChaosError: A check failed; says which.
        """
        problems: list[str] = []
        figures: list[str] = []
        try:
            self.oracle.settle()
            if drained:
                figures.append(f"drained in {self.drain(deadline_s):.1f} s")
        except AssertionError as error:
            problems.append(str(error))
        applied, heard = applied_at(self.hub.folder, DEVICE), self.listener.heard()
        found = balance(DEVICE, self.oracle, applied, heard, excused=excused, others=others)
        problems += [*found.problems, *self._audit(), *self._flat(figures), *self._within_bound()]
        if problems:
            raise ChaosError("\n".join(problems))
        return found, figures

    def _audit(self) -> list[str]:
        document = self.agent.audit()
        return [f"the audit does not hold: {one}" for one in document["equations"] if not one["holds"]]

    def _flat(self, figures: list[str]) -> list[str]:
        if self._before is None:
            return []
        pid = self.agent.process.pid
        problems = is_flat(self._before, pid, GROWS_BYTES)
        now = Vitals.of(pid)
        figures.append(
            f"memory {(now.rss_bytes - self._before.rss_bytes) / (1 << 20):+.0f} MiB,"
            f" fds {now.fds - self._before.fds:+d}, threads {now.threads - self._before.threads:+d}"
        )
        return problems

    def _within_bound(self) -> list[str]:
        limit = int(self.agent.status()["outbox"]["max_bytes"])
        most = self.watch.most_bytes
        return [f"the outbox held {most} bytes, more than its {limit}"] if most > limit else []


class Quiet:
    """Notices that a figure has stood still.

    Args:
        figure: Anything that can be compared.
    """

    def __init__(self, figure: Callable[[], object]) -> None:
        self._figure = figure
        self._last: object = None
        self._since_s = time.monotonic()

    def holds(self) -> bool:
        """Whether it has not moved for a second."""
        now = self._figure()
        if now != self._last:
            self._last, self._since_s = now, time.monotonic()
        return time.monotonic() - self._since_s > _QUIET_S


def line(found: Balance, *figures: str) -> str:
    """What a scenario shows, in one line."""
    return "; ".join([f"{found.owed:,} owed, {found.lost} lost, {found.twice} twice", *figures])
