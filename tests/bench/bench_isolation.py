"""Measures whether local answers wait for the hub: their p99 with the hub away or unwell, over that with a healthy one.

A real hub, a real agent and a real mosquitto; the way from agent to hub leads through a `ToxicProxy`. The agent's pack
is never sure, so that each window is a question to the hub and each answer could wait for it. A round measures all
conditions, the order turned round each round; before each the hub is healthy and the agent's outbox is empty:

    healthy     the hub answers
    refused     nothing listens: TCP resets
    black-holed connections open and stay open, and every byte is swallowed
    503         a server with the hub's own certificate answers each call UNAVAILABLE
    slow        every byte comes 0.6 s later each way, and no more than 8 kB a second

What is measured lies between the sensor's PUBLISH and the arrival of the answer at a subscriber. The ratio of a round
is its p99 over the p99 of the healthy hub in the same round; the median over the rounds is judged. Its interval are
order statistics of the rounds (exact for a median: David and Nagaraja, Order Statistics, section 7.1). The healthy hub
works on the same processors as the agent, which a hub that is away does not; the pace is one at which two cores carry
agent, hub, broker and sensor without a queue. Windows come at random instants (a Poisson process, the same instants in
each condition), as those of sensors that know nothing of each other: at equal distances the verdicts of a healthy hub
would always fall into the gap before the next window, and those of a slow one anywhere. What the machine's host
disturbed is measured again. Run it with `make bench-isolation`.
"""

import argparse
import json
import math
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import grpc
import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from deploy.demo.sockets import send_at_once
from edge_agent.adapters.sqlite.schema import open_reader
from edge_agent.adapters.sqlite.store import FILE_NAME
from model_packs.process.progress import progress
from tests.bench.harness import Goal, Host, Row, report, row
from tests.simulators.brokers import Mosquitto
from tests.simulators.network import LOOPBACK
from tests.simulators.packs import CHANNELS, SAMPLES
from tests.simulators.site import Agent, Hub, Site
from tests.simulators.toxics import Bandwidth, Latency, Stream, Timeout, Toxic, ToxicProxy
from tests.simulators.waiting import wait_until

FOLDER: Final = Path(__file__).parents[2] / "build" / "bench" / "isolation"
GOAL: Final = Goal("value", "<=", 1.2)
CONFIDENCE: Final = 0.95

HEALTHY: Final = "healthy"
_SLOW: Final = (Latency(latency_s=0.6), Bandwidth(bytes_per_s=8_000))
_SEED: Final = 1
_SETTLE_S: Final = 1.0
_DEADLINE_S: Final = 60.0
_EVENT_TIME_BEHIND_S: Final = 1_000_000
_REVISED: Final = (b'"revised"', b'"unrevised"')


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    rounds: int
    windows: int
    pace_per_s: float


FULL: Final = Sizes(rounds=9, windows=400, pace_per_s=50.0)
QUICK: Final = Sizes(rounds=1, windows=100, pace_per_s=50.0)


class Junction(ToxicProxy):
    """A proxy that can be led to another server."""

    def lead_to(self, port: int) -> None:
        """End every connection; new ones go there."""
        self.down()
        self._target_port = port
        self.up()


class Refuser:
    """A server on the hub's certificate that answers every call UNAVAILABLE, as a proxy does whose backend is gone."""

    def __init__(self, hub: Hub) -> None:
        folder = hub.folder / "server"
        credentials = grpc.ssl_server_credentials(
            [((folder / "server.key").read_bytes(), (folder / "server.crt").read_bytes())]
        )
        self._server = grpc.server(ThreadPoolExecutor(8), handlers=[_RefusesAll()])
        self.port = self._server.add_secure_port(f"{LOOPBACK}:0", credentials)

    def open(self) -> None:
        """Listen."""
        self._server.start()

    def close(self) -> None:
        """End it."""
        self._server.stop(None)


class _RefusesAll(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[object, object]":
        """Any method."""
        del handler_call_details

        def refuse(_requests: object, context: grpc.ServicerContext) -> None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "503 Service Unavailable")

        return grpc.stream_stream_rpc_method_handler(refuse)


class Sensor:
    """Sends windows, and measures how long each answer took."""

    def __init__(self, broker: Mosquitto, agent: Agent) -> None:
        self._address = (broker.host, broker.port)
        self._topic, self._answers = f"plant/{agent.name}/m1/raw", f"plant/{agent.name}/m1/inference"
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "bench-sensor", protocol=MQTTProtocolVersion.MQTTv311)
        send_at_once(self._client)
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        self._ready = threading.Event()
        self._arrived: list[tuple[float, bytes]] = []
        self._next_s = int(time.time()) - _EVENT_TIME_BEHIND_S
        self._random = np.random.default_rng(_SEED)

    def open(self) -> None:
        """Connect and subscribe to the answers."""
        self._client.connect(*self._address)
        self._client.loop_start()
        self._client.subscribe(self._answers, 1)
        if not self._ready.wait(15):
            raise TimeoutError("the broker took no subscription")

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def p99_ms(self, windows: int, pace_per_s: float) -> float:
        """Send windows, so many a second on average; the 99th percentile of the times to their answers, in ms."""
        self._arrived.clear()
        sent: dict[str, float] = {}
        instants_s = np.random.default_rng(_SEED).exponential(1 / pace_per_s, windows).cumsum()
        began_s = time.monotonic()
        for at_s in instants_s:
            start, payload = self._message()
            time.sleep(max(0.0, began_s + at_s - time.monotonic()))
            sent[start] = time.monotonic()
            self._client.publish(self._topic, payload, qos=1)
        wait_until(lambda: len(self._arrived) >= windows, _DEADLINE_S, f"{windows} answers")
        found = [1000 * (at_s - sent[json.loads(payload)["window"]["start"]]) for at_s, payload in self._arrived]
        return float(np.quantile(found, 0.99))

    def _message(self) -> tuple[str, bytes]:
        """Start of the next window as the answer says it, and the message that fills it."""
        second, self._next_s = self._next_s, self._next_s + 1
        samples = self._random.normal(size=(SAMPLES, CHANNELS)).round(3).tolist()
        start = datetime.fromtimestamp(second, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return start, json.dumps({"t0": start, "seq": second, "samples": samples}).encode()

    def _on_subscribe(self, *_facts: object) -> None:
        self._ready.set()

    def _on_message(self, _client: paho.Client, _user_data: object, message: paho.MQTTMessage) -> None:
        if not any(word in message.payload for word in _REVISED):
            self._arrived.append((time.monotonic(), bytes(message.payload)))


class Bench:
    """The conditions, and measuring under each."""

    def __init__(
        self, sensor: Sensor, way: Junction, *, hub_port: int, refuser_port: int, outbox: sqlite3.Connection
    ) -> None:
        self._sensor = sensor
        self._way = way
        self._hub_port = hub_port
        self._outbox = outbox
        self.conditions: dict[str, Callable[[ExitStack], None]] = {
            HEALTHY: lambda _: None,
            "refused": lambda _: way.down(),
            "black-holed": partial(self._infect, (Timeout(),)),
            "503": lambda _: way.lead_to(refuser_port),
            "slow": partial(self._infect, _SLOW),
        }

    def round(self, condition: str, sizes: Sizes) -> float:
        """Local p99 in ms under a condition that begins a moment before; until then the hub has answered everything."""
        self._way.lead_to(self._hub_port)  # new connections, so that nothing slow is left on the way
        wait_until(self._is_empty, _DEADLINE_S, "an empty outbox")
        with ExitStack() as faults:
            self.conditions[condition](faults)
            time.sleep(_SETTLE_S)
            return self._sensor.p99_ms(sizes.windows, sizes.pace_per_s)

    def _infect(self, toxics: tuple[Toxic, ...], faults: ExitStack) -> None:
        for stream in Stream:
            for toxic in toxics:
                faults.enter_context(self._way.toxic(toxic, stream))

    def _is_empty(self) -> bool:
        waiting = self._outbox.execute("SELECT COUNT(*) FROM outbox WHERE state != 'acked'").fetchone()[0]
        return bool(waiting == 0)


def main() -> None:
    """Measure and report; exits 0 whatever was measured."""
    parser = argparse.ArgumentParser(description="Local p99 with the hub away, silent or slow, over a healthy one.")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it works, not how isolated")
    sizes = QUICK if parser.parse_args().quick else FULL
    shutil.rmtree(FOLDER, ignore_errors=True)
    host = Host()
    report("isolation", rows_of(measure(sizes, host), host))


def measure(sizes: Sizes, host: Host) -> dict[str, list[float]]:
    """P99 in ms of each round, by condition."""
    with ExitStack() as stack:
        broker = Mosquitto(_made(FOLDER / "mosquitto"))
        stack.callback(broker.kill)
        broker.start()
        site = Site(_made(FOLDER / "site"), broker)
        stack.callback(site.close)
        site.open()
        agent = site.agent("bench")
        way = stack.enter_context(Junction(site.hub.ports.grpc))
        agent.config.write_text(agent.config.read_text().replace(f":{site.hub.ports.grpc}", f":{way.port}"))
        agent.start()
        refuser = Refuser(site.hub)
        stack.callback(refuser.close)
        refuser.open()
        sensor = Sensor(broker, agent)
        stack.callback(sensor.close)
        sensor.open()
        outbox = open_reader(agent.folder / "state" / FILE_NAME)
        stack.callback(outbox.close)
        bench = Bench(sensor, way, hub_port=site.hub.ports.grpc, refuser_port=refuser.port, outbox=outbox)
        return run_rounds(bench, sizes, host)


def run_rounds(bench: Bench, sizes: Sizes, host: Host) -> dict[str, list[float]]:
    """Every condition once a round; the first round warms up and is thrown away."""
    names = list(bench.conditions)
    found: dict[str, list[float]] = {name: [] for name in names}
    with progress((sizes.rounds + 1) * len(names), "rounds") as bar:
        for number in range(sizes.rounds + 1):
            for name in names if number % 2 else reversed(names):
                measured = partial(bench.round, name, sizes)
                if number:
                    found[name].append(host.undisturbed(measured))
                else:
                    measured()
                bar.advance()
    return found


def rows_of(found: dict[str, list[float]], host: Host) -> list[Row]:
    """The p99 of each condition, and for each but the healthy one the median ratio with its interval."""
    healthy = found.pop(HEALTHY)
    repeated = f"{host.repeated} measurements were disturbed and done again"
    rows = [
        row("time taken by the host, at most", "ratio", host.most, note=repeated),
        row(f"{HEALTHY}: p99", "ms", median(healthy)),
    ]
    for name, values in found.items():
        ratios = sorted(value / base for value, base in zip(values, healthy, strict=True))
        low, high = interval(ratios)
        rows += [
            row(f"{name}: p99", "ms", median(values)),
            row(f"{name} over {HEALTHY}, median of {len(ratios)}", "ratio", median(ratios), goal=GOAL),
            row(f"{name}: lower end", "ratio", low),
            row(f"{name}: upper end", "ratio", high),
        ]
    return rows


def interval(ordered: list[float]) -> tuple[float, float]:
    """The narrowest pair of order statistics that holds the median with `CONFIDENCE`; else all of them."""
    count, rank, tail = len(ordered), 1, 1 / 2 ** len(ordered)
    while 2 * (tail := tail + math.comb(count, rank) / 2**count) <= 1 - CONFIDENCE:
        rank += 1
    return ordered[rank - 1], ordered[-rank]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    main()
