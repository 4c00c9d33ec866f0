"""Measures what the agent costs: MQTT message -> prediction against a bare paho -> ONNX Runtime -> publish loop.

On each broker (mosquitto with the shipped config where it is installed, and iotcore) both run as processes all the
time and answer the same windows of the field data in turn: one message is one window, so both do the same useful work.
The agent also journals, keeps an outbox, decides and escalates; what that costs is the ratio. `make bench-e2e` runs it
and writes build/bench/e2e.json.

    paced        messages at a fixed pace; latency from handing a message to paho to the arrival of its answer
    throughput   many messages at once, few unacknowledged; answers a second, CPU-seconds for 1,000 windows
    escalation   left-wrist windows, many of which the student is unsure of; provisional answer -> its revision
"""

import argparse
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
import paho.mqtt.client as paho
from numpy.typing import NDArray
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from deploy.demo.baselines import layout
from deploy.demo.fleet import EDGE_PACK, AgentName, Wearers, person
from deploy.demo.judge import time_ns
from deploy.demo.programs import Program
from deploy.demo.sensors import NS_PER_S
from deploy.demo.sockets import send_at_once
from deploy.demo.stage import Stage
from deploy.demo.watches import WINDOW_NS, Samples
from model_packs.process.progress import progress
from model_packs.shipped.motion_band import dataset, split
from model_packs.shipped.motion_band.dataset import Recording, Wrist
from model_packs.store import PackStore
from tests.bench import bare_loop
from tests.bench.harness import Goal, Row, interleave, report, row
from tests.simulators.brokers import Broker, Iotcore, Mosquitto
from tests.simulators.waiting import wait_until

REPOSITORY: Final = Path(__file__).parents[2]
FOLDER: Final = REPOSITORY / "build" / "bench" / "e2e"

AGENT: Final = Wearers(AgentName("bench"), Wrist.RIGHT, (1,))
BARE: Final = Wearers(AgentName("bare"), Wrist.RIGHT, (1,))
PERSON: Final = person(1)

_START_DEADLINE_S: Final = 60.0
_ANSWER_DEADLINE_S: Final = 60.0
_MAX_UNACKED: Final = 50
# Windows of event time stay in the past however many are sent.
_EVENT_TIME_BEHIND_S: Final = 1_000_000
_REVISED: Final = b'"revised"'
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    rounds: int
    paced_windows: int
    pace_per_s: float
    burst_windows: int
    escalation_windows: int


FULL: Final = Sizes(rounds=5, paced_windows=200, pace_per_s=50.0, burst_windows=500, escalation_windows=400)
QUICK: Final = Sizes(rounds=1, paced_windows=50, pace_per_s=50.0, burst_windows=200, escalation_windows=100)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer or revision: when it came (monotonic), for which window, and what it is."""

    at_s: float
    start_ns: int
    status: str


@dataclass(slots=True)
class Side:
    """One of the two that answer, and what was measured of it."""

    member: Wearers
    pid: int
    next_start_ns: int
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


class Client:
    """The driver's own MQTT client: sends windows, remembers when which answer came."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "bench-driver", protocol=MQTTProtocolVersion.MQTTv311)
        send_at_once(self._client)
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._free = threading.Semaphore(_MAX_UNACKED)
        self._ready = threading.Event()
        self.arrived: list[tuple[float, str, bytes]] = []

    def open(self) -> None:
        """Connect and subscribe to the answers of both sides."""
        self._client.max_inflight_messages_set(_MAX_UNACKED)
        self._client.connect(*self._address)
        self._client.loop_start()
        self._client.subscribe([(each.results.filter, 1) for each in (AGENT, BARE)])
        if not self._ready.wait(15):
            raise TimeoutError("the broker took no subscription")

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, message: Samples) -> float:
        """Hand one message over when few enough are unacknowledged; the monotonic time just before."""
        payload = message.payload()
        self._free.acquire()
        at_s = time.monotonic()
        self._client.publish(message.topic, payload, qos=1)
        return at_s

    def wait_for(self, side: Side, first: int, count: int, *, is_revision: bool) -> None:
        """Wait for so many answers, or revisions, of a side after the first `first` messages; reads no JSON."""
        topic = side.member.results.render({"person": PERSON})

        def is_enough() -> bool:
            new = self.arrived[first:]
            return sum(on == topic and (_REVISED in payload) is is_revision for _, on, payload in new) >= count

        wait_until(is_enough, _ANSWER_DEADLINE_S, f"{count} answers of {side.member.name}")

    def read(self, side: Side, first: int) -> list[Answer]:
        """What came of a side after the first `first` messages."""
        topic = side.member.results.render({"person": PERSON})
        new = ((at_s, json.loads(payload)) for at_s, on, payload in self.arrived[first:] if on == topic)
        return [Answer(at_s, time_ns(body["window"]["start"]), body["status"]) for at_s, body in new]

    def _on_message(self, _client: paho.Client, _user_data: object, message: paho.MQTTMessage) -> None:
        self.arrived.append((time.monotonic(), message.topic, bytes(message.payload)))

    def _on_publish(self, *_facts: object) -> None:
        self._free.release()

    def _on_subscribe(self, *_facts: object) -> None:
        self._ready.set()


class Bench:
    """The rounds. Both sides answer `windows` in turn, each window under a new event time."""

    def __init__(self, client: Client, sizes: Sizes, windows: Iterator[NDArray[np.float32]]) -> None:
        self._client = client
        self._sizes = sizes
        self._windows = windows

    def paced(self, side: Side) -> float:
        """Messages at a fixed pace; median latency in ms."""
        first = len(self._client.arrived)
        sent = self._send_paced(side, self._sizes.paced_windows, self._windows)
        answers = self._answers(side, first, len(sent))
        latencies = [1000 * (answer.at_s - sent[start_ns]) for start_ns, answer in answers.items()]
        p50, p99 = (float(value) for value in np.quantile(latencies, [0.5, 0.99]))
        side.p50_ms.append(p50)
        side.p99_ms.append(p99)
        return p50

    def burst(self, side: Side) -> float:
        """Many messages at once; answers a second."""
        first = len(self._client.arrived)
        messages = list(self._messages(side, self._sizes.burst_windows, self._windows))
        cpu_before_s, began_s = cpu_s(side.pid), time.monotonic()
        for message in messages:
            self._client.send(message)
        answers = self._answers(side, first, len(messages))
        took_s = max(answer.at_s for answer in answers.values()) - began_s
        side.cpu_s.append((cpu_s(side.pid) - cpu_before_s) * 1000 / len(messages))
        side.per_s.append(len(messages) / took_s)
        return side.per_s[-1]

    def escalations(self, side: Side, windows: Iterator[NDArray[np.float32]]) -> list[float]:
        """Times from provisional answer to revision in ms, at the fixed pace."""
        first = len(self._client.arrived)
        self._send_paced(side, self._sizes.escalation_windows, windows)
        answers = self._answers(side, first, self._sizes.escalation_windows)
        provisional = {start_ns for start_ns, answer in answers.items() if answer.status == "provisional"}
        self._client.wait_for(side, first, len(provisional), is_revision=True)
        revised_s = {a.start_ns: a.at_s for a in self._client.read(side, first) if a.status == "revised"}
        return [1000 * (revised_s[start_ns] - answers[start_ns].at_s) for start_ns in sorted(provisional)]

    def _send_paced(self, side: Side, count: int, windows: Iterator[NDArray[np.float32]]) -> dict[int, float]:
        """When each window was handed over, by its start."""
        began_s = time.monotonic()
        sent: dict[int, float] = {}
        for number, message in enumerate(self._messages(side, count, windows)):
            time.sleep(max(0.0, began_s + number / self._sizes.pace_per_s - time.monotonic()))
            sent[message.start_ns] = self._client.send(message)
        return sent

    def _messages(self, side: Side, count: int, windows: Iterator[NDArray[np.float32]]) -> Iterator[Samples]:
        topic = side.member.source.render({"person": PERSON})
        for _ in range(count):
            start_ns = side.next_start_ns
            side.next_start_ns += WINDOW_NS
            yield Samples(
                topic=topic,
                seq=start_ns // WINDOW_NS,
                start_ns=start_ns,
                due_ns=start_ns + WINDOW_NS,
                samples=next(windows),
                opens=True,
                closes=None,
            )

    def _answers(self, side: Side, first: int, count: int) -> dict[int, Answer]:
        """First answers by window start, once there are `count`."""
        self._client.wait_for(side, first, count, is_revision=False)
        answers: dict[int, Answer] = {}
        for answer in self._client.read(side, first):
            answers.setdefault(answer.start_ns, answer)
        return answers


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, all threads, user and system (proc(5), /proc/pid/stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def main() -> None:
    """Measure and report; exits 0 whatever was measured."""
    parser = argparse.ArgumentParser(description="Agent against a bare loop, on one broker.")
    parser.add_argument("--quick", action="store_true", help="few windows: shows that it works, not how fast")
    sizes = QUICK if parser.parse_args().quick else FULL
    shutil.rmtree(FOLDER, ignore_errors=True)
    recordings = dataset.load(REPOSITORY / dataset.DEFAULT_CACHE, say)
    report("e2e", [each for broker in brokers() for each in measure(broker, recordings, sizes)])


def measure(broker: Broker, recordings: Sequence[Recording], sizes: Sizes) -> list[Row]:
    """All phases on one broker, with an agent and a hub of its own."""
    folder = FOLDER / broker.kind
    with ExitStack() as stack:
        stack.callback(broker.kill)
        broker.start()
        address = (broker.host, broker.port)
        stage = Stage(folder / "stage", [AGENT], say, address)
        stack.callback(stage.close)
        stage.open()
        bare = bare_program(address, folder)
        stack.callback(bare.kill)
        bare.start()
        bare.wait_until(lambda: "ready" in bare.log_path.read_text(), "it is subscribed", _START_DEADLINE_S)
        client = Client(address)
        stack.callback(client.close)
        client.open()

        start_ns = (time.time_ns() // NS_PER_S - _EVENT_TIME_BEHIND_S) * NS_PER_S
        agent_side = Side(AGENT, stage.agents[AGENT.name].program.pid, start_ns)
        sides = {"agent": agent_side, "bare": Side(BARE, bare.pid, start_ns)}
        bench = Bench(client, sizes, field_windows(recordings, Wrist.RIGHT))
        say(f"{broker.kind}: {sizes.rounds} rounds at {sizes.pace_per_s:g} windows/s, then at full speed")
        run_rounds(f"{broker.kind}, paced", bench.paced, sides, sizes.rounds)
        run_rounds(f"{broker.kind}, full speed", bench.burst, sides, sizes.rounds)
        times_ms = bench.escalations(agent_side, field_windows(recordings, Wrist.LEFT))
    return rows_of(sides, times_ms, sizes.escalation_windows, broker.kind)


def run_rounds(name: str, phase: Callable[[Side], float], sides: dict[str, Side], rounds: int) -> None:
    """Run one phase fairly; what the warm-up measured is thrown away."""
    with progress((rounds + 1) * len(sides), name) as bar:

        def measured(side: Side) -> float:
            value = phase(side)
            bar.advance()
            return value

        interleave({key: partial(measured, side) for key, side in sides.items()}, rounds=rounds)
    for side in sides.values():
        for values in (side.p50_ms, side.p99_ms, side.per_s, side.cpu_s):
            del values[: max(0, len(values) - rounds)]


def rows_of(sides: dict[str, Side], times_ms: Sequence[float], asked: int, broker: str) -> list[Row]:
    """Judge medians over the rounds; the goals are the project's own, set before anything was measured."""
    agent, bare = sides["agent"], sides["bare"]
    p50, bare_p50 = median(agent.p50_ms), median(bare.p50_ms)
    p99, bare_p99 = median(agent.p99_ms), median(bare.p99_ms)
    path = f"{broker}: MQTT -> prediction"
    rows = [
        row(f"{path}, p50", "ms", p50, baseline=bare_p50),
        row(f"{path}, p99", "ms", p99, baseline=bare_p99),
        row(f"{broker}: throughput", "windows/s", median(agent.per_s), baseline=median(bare.per_s)),
        row(f"{broker}: CPU for 1,000 windows", "s", median(agent.cpu_s), baseline=median(bare.cpu_s)),
    ]
    if broker != Iotcore.kind:  # iotcore holds small messages back for up to 40 ms, which drowns the difference
        rows += [
            row(f"{broker}: added by the agent, p50", "ms", p50 - bare_p50, goal=Goal("value", "<=", 5.0)),
            row(f"{broker}: added by the agent, p99", "ms", p99 - bare_p99, goal=Goal("value", "<=", 25.0)),
        ]
    if times_ms:
        say(f"{broker}: {len(times_ms)} of {asked} left-wrist windows were escalated")
        case = f"{broker}: provisional -> revised"
        revised_p50, revised_p99 = (float(value) for value in np.quantile(times_ms, [0.5, 0.99]))
        rows += [row(f"{case}, p50", "ms", revised_p50), row(f"{case}, p99", "ms", revised_p99)]
    return rows


def field_windows(recordings: Sequence[Recording], wrist: Wrist) -> Iterator[NDArray[np.float32]]:
    """The field windows of a wrist, for ever, each float32 [samples, channels]."""
    return cycle([window for r in recordings if r.wrist is wrist for window in split.field_windows(r)])


def brokers() -> list[Broker]:
    """Mosquitto with the shipped config where it is installed, and iotcore."""
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    found: list[Broker] = []
    if shutil.which("mosquitto", path=search) is None:
        say("mosquitto is missing: apt-get install mosquitto; measuring with iotcore only")
    else:
        found.append(Mosquitto(_made(FOLDER / "mosquitto")))
    return [*found, Iotcore(_made(FOLDER / "iotcore"))]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def bare_program(address: tuple[str, int], folder: Path) -> Program:
    """The bare loop on the graph of the agent's own pack."""
    store = PackStore(folder / "driver")
    store.open()
    pack = store.load(store.import_layout(layout(EDGE_PACK)), None)
    graph, labels = pack.path(pack.manifest.variants[0].file), ",".join(pack.manifest.labels)
    host, port = address
    argv = [sys.executable, "-P", str(bare_loop.__file__), host, str(port), BARE.source.filter, str(graph), labels]
    return Program("the bare loop", argv, folder / "bare.log")


def say(text: str) -> None:
    """Tell the person; stdout belongs to the table."""
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
