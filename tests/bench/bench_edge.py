"""Measures what the agent costs beside a bare paho -> ONNX Runtime -> publish loop, and how far the hub's verdict is.

    full speed  1 kB messages as fast as they are answered, at most 1,000 on their way; QoS 0, and QoS 1 durable
                (the agent's PUBACK waits for its journal's sync, its answers are kept until the broker has them; the
                bare loop promises nothing)
    200 a second  messages at a fixed pace; time from PUBLISH to the answer at a subscriber, less one `session.run` at
                that pace; at QoS 0 also while no processor may sleep between two messages
    escalation  a device's stream on the real hub: item -> verdict, less the model's time, beside a bare echo of the
                same size; item -> durable ack beside a sync of the disk; then the whole way at a site, from the
                provisional answer to its revision

Both sides run all the time on one mosquitto and are measured in turn, the order turned round each round. What the host
of a shared machine disturbed is measured again where a tail counts: at a pace. `make bench-edge` runs it and writes
build/bench/edge.json and .svg; `--write` puts the figures on docs/performance.md.
"""

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from model_packs.process.progress import progress
from tests.bench import bare_echo, edge_link
from tests.bench.awake import kept_awake
from tests.bench.edge_sides import REPOSITORY, Side, Watch, run_agent, started_agent, started_bare, write_agent
from tests.bench.flood import Flood
from tests.bench.harness import RESULTS_FOLDER, Goal, Host, Row, interleave, not_run, report, row
from tests.bench.mqtt_packets import publish
from tests.bench.serving import raw, results
from tests.bench.serving.models import VERSION, WINDOW
from tests.bench.serving.ours import hub_process, sign_pack, write_hub
from tests.bench.serving.process_tree import cpu_s
from tests.bench.tap import Tap
from tests.simulators.brokers import Mosquitto, config_without_saves
from tests.simulators.network import LOOPBACK, free_port, is_listening
from tests.simulators.processes import Process
from tests.simulators.site import wait_ready
from tests.simulators.waiting import wait_until

HUB_MODEL: Final = replace(WINDOW, name="bench-window-hub")

OF_BARE: Final = {0: Goal("ratio", ">=", 0.6), 1: Goal("ratio", ">=", 0.4)}
NAMES: Final = {0: "QoS 0", 1: "QoS 1 durable"}
ADDED_P50: Final = Goal("value", "<=", 0.5)
ADDED_P99: Final = Goal("value", "<=", 3.0)
OF_ECHO: Final = Goal("ratio", "<=", 3.0)
RUN: Final = "session.run"
OURS, THEIRS = "agent", "bare"
AWAKE: Final = ", processors kept awake"

_BACKLOG: Final = 1_000
_DEADLINE_S: Final = 120.0
_MS: Final = 1000.0
_RAW_S: Final = 0.5
_SITE_PACE_PER_S: Final = 20.0
_SITE_WARM_UP: Final = 40

_HUB_TABLE: Final = """
[hub]
address = "{host}:{port}"
insecure = true
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    rounds: int
    messages: int
    paced: int
    pace_per_s: float
    questions: int


FULL: Final = Sizes(rounds=5, messages=10_000, paced=800, pace_per_s=200.0, questions=200)
QUICK: Final = Sizes(rounds=1, messages=1_500, paced=200, pace_per_s=200.0, questions=30)


class Poured(NamedTuple):
    """What one round at full speed measured: messages a second, CPU-seconds for 1,000."""

    per_s: float
    cpu_s: float


class Paced(NamedTuple):
    """What one round at a fixed pace measured: quantiles of the time to the answer."""

    p50_ms: float
    p99_ms: float


FiguresT = TypeVar("FiguresT", Poured, Paced)


Rounds: TypeAlias = Mapping[str, Sequence[FiguresT]]
"""What the rounds measured, by side: ours, then the bare loop."""


class Answers(NamedTuple):
    """What MQTT messages measured."""

    poured: Mapping[int, Rounds[Poured]]
    """By QoS."""
    paced: Mapping[int, Rounds[Paced]]
    """By QoS; before the two sides stands `RUN`. All three once more with `AWAKE` behind their names, at QoS 0."""
    why_not_awake: str
    """Why those were not measured."""


class Lane:
    """One side at one QoS: its messages, its answers."""

    def __init__(self, side: Side, qos: int, flood: Flood, address: tuple[str, int]) -> None:
        self.name = side.prefix
        self._pid = side.pid[qos]
        self._qos = qos
        self._flood = flood
        self._watch = Watch(side.prefix, qos)
        self._tap = Tap(address, f"{side.prefix}{qos}/+/inference", f"tap-{side.prefix}-{qos}", keeps=True)

    def open(self) -> None:
        """Subscribe to the answers."""
        self._tap.open()

    def close(self) -> None:
        """Leave."""
        self._tap.close()

    def pour(self, count: int) -> Poured:
        """Messages at full speed."""
        packets = self._flood.packets(list(self._watch.messages(count)), self._qos)
        before, cpu_before_s = self._tap.count, cpu_s(self._pid)
        took_s = self._flood.pour(
            packets, lambda: self._tap.count - before, backlog=_BACKLOG, deadline_s=_DEADLINE_S, qos=self._qos
        )
        self._tap.arrived.clear()
        return Poured(count / took_s, (cpu_s(self._pid) - cpu_before_s) * 1000 / count)

    def pace(self, count: int, per_s: float) -> Paced:
        """Messages at a fixed pace."""
        first = self._tap.count
        sent = paced(self._flood, self._watch, self._qos, count, per_s)
        self._tap.wait_for(first + count, _DEADLINE_S)
        if self._qos:
            self._flood.settle(count)
        times_s = [at_s - sent[_window_of(content)] for at_s, content in self._tap.arrived]
        self._tap.arrived.clear()
        return quantiles(times_s)


def quantiles(times_s: Sequence[float] | NDArray[np.float64]) -> Paced:
    """Of times in seconds."""
    return Paced(*(float(value) for value in _MS * np.quantile(times_s, [0.5, 0.99])))


def paced(flood: Flood, watch: Watch, qos: int, count: int, per_s: float) -> dict[str, float]:
    """Send so many messages at a fixed pace; when each was sent, by what `_window_of` says of its answer."""
    made = [
        (f"{topic}/inference {_instant(json.loads(payload)['t0'])}", publish(topic, payload, qos, number))
        for number, (topic, payload) in enumerate(watch.messages(count), start=1)
    ]
    sent: dict[str, float] = {}
    began_s = time.monotonic()
    for number, (window, packet) in enumerate(made):
        time.sleep(max(0.0, began_s + number / per_s - time.monotonic()))
        sent[window] = flood.send(packet)
    return sent


def main() -> None:
    """Measure and report; exits 0 whatever was measured."""
    parser = argparse.ArgumentParser(description="The agent beside a bare loop, and the way to the hub and back.")
    parser.add_argument("--quick", action="store_true", help="few messages: shows that it works, not how fast")
    parser.add_argument("--write", action="store_true", help="put the figures on docs/performance.md")
    options = parser.parse_args()
    sizes = QUICK if options.quick else FULL
    folder = results.fresh("edge")
    if shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") is None:
        rows = [not_run("MQTT", "", "mosquitto is missing: apt-get install mosquitto")]
        found = Answers({}, {}, "")
    else:
        broker = Mosquitto(_made(folder / "mosquitto"), config=config_without_saves())
        with ExitStack() as stack:
            stack.callback(broker.kill)
            broker.start()
            host = Host()
            found = mqtt(broker, folder, sizes, host)
            loop_ms = _MS / raw.runner(WINDOW.write(folder), WINDOW, callers=1, threads=1)(_RAW_S)
            rows = [*mqtt_rows(found, host), row("raw session.run, in a loop", "ms", loop_ms)]
            rows += escalation(broker, folder, sizes)
    picture = plot(found.poured)
    report("edge", rows)
    (RESULTS_FOLDER / "edge.svg").write_text(picture)
    if options.write:
        results.write_page("edge", rows, {}, {"messages a second from MQTT to the prediction": picture})


def mqtt(broker: Mosquitto, folder: Path, sizes: Sizes, host: Host) -> Answers:
    """Both sides in turn, at full speed and paced."""
    address = (broker.host, broker.port)
    poured: dict[int, Rounds[Poured]] = {}
    at_pace: dict[int, Rounds[Paced]] = {}
    with ExitStack() as stack:
        agent, bare = started_agent(broker, folder / "agent", stack), started_bare(broker, folder / "bare", stack)
        flood = Flood(address)
        stack.callback(flood.close)
        flood.open()
        why_not = why_not_awake()
        run_times = raw.pacer(WINDOW.write(folder), WINDOW, per_s=sizes.pace_per_s)

        for qos, name in NAMES.items():
            pair = [Lane(side, qos, flood, address) for side in (agent, bare)]
            for lane in pair:
                stack.callback(lane.close)
                lane.open()
            pours = {lane.name: partial(lane.pour, sizes.messages) for lane in pair}
            poured[qos] = turns(f"{name}, full speed", pours, sizes.rounds)
            paces: dict[str, Callable[[], Paced]] = {RUN: lambda: quantiles(run_times(sizes.paced))}
            paces |= {lane.name: partial(lane.pace, sizes.paced, sizes.pace_per_s) for lane in pair}
            if qos == 0 and not why_not:
                paces |= {f"{side}{AWAKE}": partial(while_awake, pace) for side, pace in paces.items()}
            undisturbed = {side: partial(host.undisturbed, pace) for side, pace in paces.items()}
            at_pace[qos] = turns(f"{name}, paced", undisturbed, sizes.rounds)
        return Answers(poured, at_pace, why_not)


def while_awake(pace: Callable[[], Paced]) -> Paced:
    """A pace with processors that may not sleep."""
    with kept_awake():
        return pace()


def why_not_awake() -> str:
    """Why the processors cannot be kept awake; empty: they can."""
    try:
        with kept_awake():
            return ""
    except OSError as error:
        return f"{error.filename}: {error.strerror}; it takes root on Linux"


def turns(name: str, sides: Mapping[str, Callable[[], FiguresT]], rounds: int) -> Rounds[FiguresT]:
    """Let all work in turn; the warm-up's figures are forgotten."""
    found: dict[str, list[FiguresT]] = {side: [] for side in sides}
    with progress((rounds + 1) * len(sides), name) as bar:

        def measured(side: str) -> float:
            found[side].append(sides[side]())
            bar.advance()
            return found[side][-1][0]

        interleave({side: partial(measured, side) for side in sides}, rounds=rounds)
    return {side: figures[-rounds:] for side, figures in found.items()}


def mqtt_rows(found: Answers, host: Host) -> list[Row]:
    """Judge medians over the rounds; the goals are the project's own, set before anything was measured."""
    rows = []
    for qos, poured in found.poured.items():
        case = f"MQTT -> prediction, 1 kB, {NAMES[qos]}"
        per_s, bare_per_s = (median(one.per_s for one in rounds) for rounds in poured.values())
        rows.append(row(case, "messages/s", per_s, baseline=bare_per_s, goal=OF_BARE[qos]))
        cpu, bare_cpu = (median(one.cpu_s for one in rounds) for rounds in poured.values())
        rows.append(row(f"{case}: CPU for 1,000", "s", cpu, baseline=bare_cpu))
        rows += paced_rows(NAMES[qos], found.paced[qos], is_judged=qos == 0)
        if qos == 0 and found.why_not_awake:
            rows.append(not_run(f"200 a second, {NAMES[qos]}{AWAKE}", "ms", found.why_not_awake))
        elif qos == 0:
            rows += paced_rows(NAMES[qos], found.paced[qos], AWAKE, is_judged=True)
    note = f"at a pace; {host.repeated} measurements were disturbed and done again"
    rows.append(row("time taken by the host, at most", "ratio", host.most, note=note))
    return rows


def paced_rows(case: str, paced: Rounds[Paced], state: str = "", *, is_judged: bool) -> list[Row]:
    """What serving adds to the median run of the model at the same pace."""
    runs, ours, theirs = (paced[f"{side}{state}"] for side in (RUN, OURS, THEIRS))
    run_ms = median(one.p50_ms for one in runs)
    case = f"200 a second, {case}{state}"
    rows = [row(f"{case}: {RUN}, p50", "ms", run_ms)]
    for name, at, goal in (("p50", 0, ADDED_P50), ("p99", 1, ADDED_P99)):
        value, baseline = (median(one[at] for one in side) - run_ms for side in (ours, theirs))
        rows.append(
            row(f"{case}: added to it, {name}", "ms", value, baseline=baseline, goal=goal if is_judged else None)
        )
    return rows


def escalation(broker: Mosquitto, folder: Path, sizes: Sizes) -> list[Row]:
    """The hub's stream by hand, then the whole way at a site."""
    with ExitStack() as stack:
        config, ports = write_hub(HUB_MODEL, folder / "hub")
        hub = hub_process(config, "--insecure")
        stack.callback(hub.kill)
        hub.start()
        wait_ready(hub, ports.http)
        echo_port = free_port()
        log = folder / "echo.log"
        echo = Process([sys.executable, "-m", bare_echo.__name__, str(echo_port)], log_path=log, cwd=REPOSITORY)
        stack.callback(echo.kill)
        echo.start()
        wait_until(lambda: is_listening(echo_port), _DEADLINE_S, f"the echo, see {log}")
        rows = asyncio.run(stream_rows(ports.grpc, echo_port, folder, sizes))
        return rows + site_rows(broker, folder / "site", ports.grpc, sizes, stack)


async def stream_rows(hub_port: int, echo_port: int, folder: Path, sizes: Sizes) -> list[Row]:
    """A device's stream, the echo and the disk in turn; then stream and echo message by message."""
    size_bytes = edge_link.item_bytes(HUB_MODEL)
    verdicts, acks, echoes, syncs, paired = [], [], [], [], []
    async with edge_link.link(hub_port, HUB_MODEL) as link, edge_link.echo(echo_port, size_bytes) as echo:
        await link.ask(sizes.questions)  # the first ones warm everything up
        for _ in range(sizes.rounds):
            trips = await link.ask(sizes.questions)
            verdicts.append(median(edge_link.less(trips.verdict, trips.infer)))
            acks.append(median(trips.ack))
            echoes.append(median(await echo.ask(sizes.questions)))
            syncs.append(median(edge_link.syncs(folder, sizes.questions)))
            paired.append([median(times) for times in await edge_link.in_turn(link, echo, sizes.questions // 4)])
    note = f"a 1 kB message is {size_bytes} bytes on this wire"
    verdict = "escalation: item to verdict, less the model, p50"
    verdict_in_turn, echo_in_turn = (median(times) for times in zip(*paired, strict=True))
    often = "beside an echo that is asked as often, between the questions"
    return [
        row(verdict, "ms", median(verdicts), baseline=median(echoes), goal=OF_ECHO, note=f"{note}; beside a bare echo"),
        row(f"{verdict}, at one pace", "ms", verdict_in_turn, baseline=echo_in_turn, note=often),
        row(
            "escalation: item to durable ack, p50", "ms", median(acks), baseline=median(syncs), note="beside fdatasync"
        ),
    ]


def site_rows(broker: Mosquitto, folder: Path, hub_port: int, sizes: Sizes, stack: ExitStack) -> list[Row]:
    """From the provisional answer to its revision, at a subscriber of the site."""
    folder.mkdir(parents=True)
    sign_pack(WINDOW, "edge", folder, f"{HUB_MODEL.name}@{VERSION}")
    table = _HUB_TABLE.format(host=LOOPBACK, port=hub_port)
    run_agent(write_agent(broker, folder, pack="./pack/layout", more=table), stack)
    tap = Tap((broker.host, broker.port), "agent1/+/inference", "tap-site", keeps=True)
    stack.callback(tap.close)
    tap.open()
    flood = Flood((broker.host, broker.port))
    stack.callback(flood.close)
    flood.open()
    watch = Watch("agent", 1)
    for count in (_SITE_WARM_UP, sizes.questions):  # while the first ones wait, the link to the hub comes up
        tap.arrived.clear()
        before = tap.count
        paced(flood, watch, 1, count, _SITE_PACE_PER_S)
        tap.wait_for(before + 2 * count, _DEADLINE_S)
        flood.settle(count)
    seen: dict[str, list[float]] = {}
    for at_s, content in tap.arrived:
        seen.setdefault(_window_of(content), []).append(at_s)
    p50_ms, p99_ms = quantiles([at_s[1] - at_s[0] for at_s in seen.values()])
    case = "escalation: provisional answer to its revision, at the site"
    return [row(f"{case}, p50", "ms", p50_ms), row(f"{case}, p99", "ms", p99_ms)]


def plot(poured: Mapping[int, Rounds[Poured]]) -> str:
    """A bar for each side and QoS."""
    bars = [
        (f"{side}, {NAMES[qos]}", mean(one.per_s for one in figures), place == 0)
        for qos, sides in poured.items()
        for place, (side, figures) in enumerate(sides.items())
    ]
    return results.plot("1 kB messages a second from MQTT to the prediction", "messages/s", bars)


def _window_of(content: bytes) -> str:
    """Topic and window of an answer."""
    topic, _, body = content.partition(b"{")
    event: dict[str, Any] = json.loads(b"{" + body)
    return f"{topic.decode()} {_instant(event['window']['start'])}"


def _instant(text: str) -> str:
    return text.replace(".000Z", "Z")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    main()
