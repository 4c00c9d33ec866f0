"""Measures what the journal takes: durable QoS 1 messages a second, against a bare subscriber that acks at once.

One mosquitto, one publisher, and both sides in turn, the order turned round each round. The agent is the real program
with the shipped motion pack and no hub; a message counts when the commit that holds it is on disk, which is what its
PUBACK waits for. The bare side is `bare_acker.py`. Each may leave 1,000 messages unacknowledged: the bare one as the
broker's config says, the agent by its own `receive_maximum`. Run it with `make bench-ingest`.

Messages are those of 100 watches that sample at 50 Hz, six values a sample. The goal is on the plain way of a sensor,
one sample a message (some 180 bytes): every 50th completes a window, which is answered and published as always. With
five samples a message (some 700 bytes) every tenth does, so that inference takes its part of the processor, too.
"""

import argparse
import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from deploy.demo.baselines import layout
from deploy.demo.fleet import EDGE_PACK
from deploy.demo.watches import iso8601
from edge_agent.adapters.sqlite.schema import open_reader
from edge_agent.adapters.sqlite.store import FILE_NAME
from edge_agent.core.accounting import Count
from model_packs.process.progress import progress
from model_packs.shipped.motion_band import dataset
from model_packs.shipped.motion_band.dataset import RATE_HZ, Wrist
from model_packs.signing import generate_site_key
from model_packs.store import PackStore
from tests.bench import bare_acker
from tests.bench.flood import Flood
from tests.bench.harness import Goal, Row, interleave, report, row
from tests.bench.serving.process_tree import cpu_s
from tests.simulators.brokers import Mosquitto, config_without_saves
from tests.simulators.processes import Process, installed_program

REPOSITORY: Final = Path(__file__).parents[2]
FOLDER: Final = REPOSITORY / "build" / "bench" / "ingest"

CASES: Final = {"1 sample a message": 1, "5 samples a message": 5}

PER_S: Final = Goal("value", ">=", 5000.0)
OF_BARE: Final = Goal("ratio", ">=", 0.6)

_WATCHES: Final = 100
_BACKLOG: Final = 1_000
_DEADLINE_S: Final = 120.0
_NS_PER_S: Final = 1_000_000_000
# Samples of event time stay in the past however many are sent.
_EVENT_TIME_BEHIND_S: Final = 1_000_000

_AGENT_TOML: Final = """\
[device]
id = "bench"

[packs]
trusted_keys = ["site.pub"]

[http]
listen = "127.0.0.1:0"
"""

_BINDINGS_TOML: Final = """\
[mqtt.site]
url = "mqtt://{host}:{port}"
receive_maximum = 1000

[[binding]]
name = "motion"
broker = "site"
pack = "./pack"
topic = "agent/{{watch}}/imu"
partition = ["watch"]

[binding.payload]
rate_hz = {rate_hz}
key = ["seq"]

[binding.window]
size_s = 1.0
hop_s = 1.0

[binding.result]
topic = "agent/{{watch}}/inference"
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    rounds: int
    messages: int


FULL: Final = Sizes(rounds=5, messages=20_000)
QUICK: Final = Sizes(rounds=1, messages=5_000)


@dataclass(slots=True)
class Side:
    """One of the two that take messages, and what was measured of it.

    Attributes:
        prefix: First level of its topics.
        taken: How many messages it has taken since it started.
    """

    prefix: str
    pid: int
    taken: Callable[[], int]
    per_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    broker_cpu_s: list[float] = field(default_factory=list)


class Watches:
    """What 100 watches send: messages of `samples` samples each, round robin, in the order of event time."""

    def __init__(self, start_s: int, samples: int, values: NDArray[np.float32]) -> None:
        self._start_s = start_s
        self._samples = samples
        self._values = values
        self._number = 0

    def messages(self, prefix: str, count: int) -> Iterator[tuple[str, bytes]]:
        """The next ones: topic and payload."""
        for _ in range(count):
            turn, watch = divmod(self._number, _WATCHES)
            self._number += 1
            first = turn * self._samples
            at = first % (len(self._values) - self._samples)
            body = {
                "t0": iso8601(self._start_s * _NS_PER_S + first * _NS_PER_S // RATE_HZ),
                "seq": self._start_s * RATE_HZ + first,
                "samples": self._values[at : at + self._samples].astype(float).tolist(),
            }
            yield f"{prefix}/{watch:03d}/imu", json.dumps(body, separators=(",", ":")).encode()


class Bench:
    """The rounds of one case."""

    def __init__(self, flood: Flood, broker_pid: int, watches: dict[str, Watches], messages: int) -> None:
        self._flood = flood
        self._broker_pid = broker_pid
        self._watches = watches
        self._messages = messages

    def round(self, side: Side) -> float:
        """Pour the messages of one round; how many a second were taken."""
        packets = self._flood.packets(list(self._watches[side.prefix].messages(side.prefix, self._messages)))
        before = side.taken()
        cpu_before_s, broker_before_s = cpu_s(side.pid), cpu_s(self._broker_pid)
        took_s = self._flood.pour(packets, lambda: side.taken() - before, backlog=_BACKLOG, deadline_s=_DEADLINE_S)
        thousands = len(packets) / 1000
        side.cpu_s.append((cpu_s(side.pid) - cpu_before_s) / thousands)
        side.broker_cpu_s.append((cpu_s(self._broker_pid) - broker_before_s) / thousands)
        side.per_s.append(len(packets) / took_s)
        return side.per_s[-1]


def main() -> None:
    """Measure and report; exits 0 whatever was measured."""
    parser = argparse.ArgumentParser(description="What the journal takes, against a bare subscriber.")
    parser.add_argument("--quick", action="store_true", help="few messages: shows that it works, not how fast")
    sizes = QUICK if parser.parse_args().quick else FULL
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    report("ingest", measure(sizes))


def measure(sizes: Sizes) -> list[Row]:
    """Both cases on one broker, with one agent."""
    values = np.concatenate(
        [r.samples for r in dataset.load(REPOSITORY / dataset.DEFAULT_CACHE, say) if r.wrist is Wrist.RIGHT]
    )
    with ExitStack() as stack:
        broker = Mosquitto(_made(FOLDER / "mosquitto"), config=config_without_saves())
        stack.callback(broker.kill)
        broker.start()
        sides = [started_agent(broker, stack), started_bare(broker, stack)]
        flood = Flood((broker.host, broker.port))
        stack.callback(flood.close)
        flood.open()
        rows: list[Row] = []
        for case, samples in CASES.items():
            start_s = int(time.time()) - _EVENT_TIME_BEHIND_S // samples
            watches = {side.prefix: Watches(start_s, samples, values) for side in sides}
            run_rounds(case, Bench(flood, broker.pid, watches, sizes.messages), sides, sizes)
            rows += rows_of(case, *sides, is_judged=samples == 1)
        return rows


def run_rounds(name: str, bench: Bench, sides: Sequence[Side], sizes: Sizes) -> None:
    """Run one case fairly; what the warm-up measured is thrown away."""
    for side in sides:
        side.per_s, side.cpu_s, side.broker_cpu_s = [], [], []
    with progress((sizes.rounds + 1) * len(sides), name) as bar:

        def measured(side: Side) -> float:
            value = bench.round(side)
            bar.advance()
            return value

        interleave({side.prefix: partial(measured, side) for side in sides}, rounds=sizes.rounds)
    for side in sides:
        for values in (side.per_s, side.cpu_s, side.broker_cpu_s):
            del values[: max(0, len(values) - sizes.rounds)]


def rows_of(case: str, agent: Side, bare: Side, *, is_judged: bool) -> list[Row]:
    """Medians over the rounds; the goals are the project's own, set before anything was measured."""
    per_s, bare_per_s = median(agent.per_s), median(bare.per_s)
    either = PER_S if per_s >= PER_S.limit else OF_BARE  # one of the two is enough
    return [
        row(f"{case}: durable", "messages/s", per_s, baseline=bare_per_s, goal=either if is_judged else None),
        row(f"{case}: CPU for 1,000 messages", "s", median(agent.cpu_s), baseline=median(bare.cpu_s)),
        row(f"{case}: broker's CPU for them", "s", median(agent.broker_cpu_s), baseline=median(bare.broker_cpu_s)),
    ]


def started_agent(broker: Mosquitto, stack: ExitStack) -> Side:
    """The real agent on the shipped student, signed for this bench, without a hub."""
    folder = _made(FOLDER / "agent")
    key = generate_site_key(folder / "site.key")
    (folder / "site.pub").write_text(key.public.pem)
    store = PackStore(folder / "pack")
    store.open()
    store.sign(store.import_layout(layout(EDGE_PACK)), key)
    config = folder / "agent.toml"
    config.write_text(_AGENT_TOML)
    bindings = _BINDINGS_TOML.format(host=broker.host, port=broker.port, rate_hz=RATE_HZ)
    (folder / "bindings.toml").write_text(bindings)
    argv = [installed_program("edge-agent"), "run", "--config", str(config)]
    process = Process(argv, log_path=FOLDER / "edge-agent.log", cwd=folder)
    stack.callback(process.kill)
    stack.callback(process.terminate)
    process.start()
    process.wait_for_log("broker_connected")
    reader = open_reader(folder / "state" / FILE_NAME)
    stack.callback(reader.close)
    return Side("agent", process.pid, partial(journaled, reader))


def journaled(reader: sqlite3.Connection) -> int:
    """How many records were journaled, as the last commit says."""
    found = reader.execute("SELECT value FROM counter WHERE name = ?", (Count.RECORDS_JOURNALED,)).fetchone()
    return 0 if found is None else int(found[0])


def started_bare(broker: Mosquitto, stack: ExitStack) -> Side:
    """The bare subscriber."""
    count_file = FOLDER / "count"
    count_file.write_bytes(bytes(bare_acker.COUNT_BYTES))
    argv = [sys.executable, "-m", bare_acker.__name__, broker.host, str(broker.port), "bare/+/imu", str(count_file)]
    process = Process(argv, log_path=FOLDER / "bare.log", cwd=REPOSITORY)
    stack.callback(process.kill)
    process.start()
    process.wait_for_log("ready")
    return Side("bare", process.pid, lambda: int.from_bytes(count_file.read_bytes(), sys.byteorder))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def say(text: str) -> None:
    """Tell the person; stdout belongs to the table."""
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
