"""Owns the two that answer MQTT messages in bench_edge: the real agent, and the bare loop; and what is sent to them.

One message is one window of one second (16 samples of 4 channels, about 1 kB of JSON), so both do the same useful
work. Sixteen watches send in turn; event times lie in the past however many are sent. Each side has its own topics, one
set at QoS 0 and one at QoS 1. The agent is the installed program on a signed pack that is never sure, without a hub.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from deploy.demo.watches import iso8601
from tests.bench import bare_loop
from tests.bench.serving.environments import COMPILED
from tests.bench.serving.models import WINDOW
from tests.bench.serving.ours import sign_pack
from tests.simulators.brokers import Mosquitto
from tests.simulators.processes import Process, installed_program

REPOSITORY: Final = Path(__file__).parents[2]
WATCHES: Final = 16
NS_PER_S: Final = 1_000_000_000
_VALUES: Final = 64
_DIGITS: Final = 10
_START_S: Final = 1_780_000_000

_AGENT_TOML: Final = """\
[device]
id = "bench"

[packs]
trusted_keys = ["site.pub"]

[http]
listen = "127.0.0.1:0"
{more}"""

_BROKER_TOML: Final = """\
[mqtt.site]
url = "mqtt://{host}:{port}"
receive_maximum = 1000
"""

_BINDING_TOML: Final = """
[[binding]]
name = "qos{qos}"
broker = "site"
pack = "{pack}"
topic = "agent{qos}/{{watch}}"
partition = ["watch"]
qos = {qos}

[binding.payload]
rate_hz = 16.0
key = ["seq"]

[binding.window]
size_s = 1.0
hop_s = 1.0

[binding.result]
topic = "agent{qos}/{{watch}}/inference"
qos = {qos}
"""


@dataclass(slots=True)
class Side:
    """One of the two.

    Attributes:
        prefix: First level of its topics, before the QoS.
        pid: Of its process, or of one for each QoS.
    """

    prefix: str
    pid: dict[int, int]


class Watch:
    """What the watches of one side and QoS send next."""

    def __init__(self, prefix: str, qos: int) -> None:
        self._prefix = f"{prefix}{qos}"
        self._number = 0
        self._values = np.random.default_rng(1).normal(size=(_VALUES, *WINDOW.shape)).round(_DIGITS)

    def messages(self, count: int) -> Iterator[tuple[str, bytes]]:
        """The next ones: topic and payload."""
        for _ in range(count):
            turn, watch = divmod(self._number, WATCHES)
            second = _START_S + turn
            samples = self._values[self._number % _VALUES].tolist()
            body = {"t0": iso8601(second * NS_PER_S), "seq": second, "samples": samples}
            self._number += 1
            yield f"{self._prefix}/{watch:02d}", json.dumps(body, separators=(",", ":")).encode()


def write_agent(broker: Mosquitto, folder: Path, *, pack: str, more: str = "") -> Path:
    """Write an agent's files for both QoS; the path of its agent.toml."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "agent.toml").write_text(_AGENT_TOML.format(more=more))
    bindings = "".join(_BINDING_TOML.format(qos=qos, pack=pack) for qos in (0, 1))
    (folder / "bindings.toml").write_text(_BROKER_TOML.format(host=broker.host, port=broker.port) + bindings)
    return folder / "agent.toml"


def started_agent(broker: Mosquitto, folder: Path, stack: ExitStack) -> Side:
    """The real agent, alone."""
    folder.mkdir(parents=True)
    sign_pack(WINDOW, "edge", folder)
    process = run_agent(write_agent(broker, folder, pack="./pack/layout"), stack)
    return Side("agent", dict.fromkeys((0, 1), process.pid))


def run_agent(config: Path, stack: ExitStack) -> Process:
    """Start an agent and wait until its broker has taken its subscriptions: what comes before is nobody's."""
    line = [installed_program("edge-agent"), "run", "--config", str(config)]
    process = Process(line, log_path=config.parent / "edge-agent.log", cwd=config.parent, environ=COMPILED)
    stack.callback(process.kill)
    stack.callback(process.terminate)
    process.start()
    process.wait_for_log('"peer": "mqtt:site"')
    return process


def started_bare(broker: Mosquitto, folder: Path, stack: ExitStack) -> Side:
    """The bare loop, once for each QoS."""
    graph = WINDOW.write(folder)
    labels = ",".join(f"class-{number}" for number in range(WINDOW.classes))
    pids = {}
    for qos in (0, 1):
        facts = [broker.host, str(broker.port), f"bare{qos}/+", str(qos), str(graph), labels]
        line = [sys.executable, "-m", bare_loop.__name__, *facts]
        process = Process(line, log_path=folder / f"bare-{qos}.log", cwd=REPOSITORY, environ=COMPILED)
        stack.callback(process.kill)
        process.start()
        process.wait_for_log("ready")
        pids[qos] = process.pid
    return Side("bare", pids)
