"""Owns one real agent for the tests of this folder: its files, a pack signed for it, its process, its commands.

Its hub is configured and never there, or a test's own, or not configured at all: what the two do together is
tests/simulators/site.py.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from model_packs.signing import generate_site_key
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.network import free_port
from tests.simulators.packs import CHANNELS, SAMPLES, build_tiny
from tests.simulators.processes import Process, installed_program, run_to_end
from tests.simulators.waiting import wait_until

RESULTS = "plant/+/inference"
START_S = 1_790_000_000
DEADLINE_S = 30.0

_AGENT_TOML = """\
[device]
id = "press-07"
{hub}
[packs]
trusted_keys = ["site.pub"]
bake_s = {bake_s}

[http]
listen = "127.0.0.1:0"

[outbox]
max_bytes = {max_bytes}
"""

_HUB_TOML = """
[hub]
address = "127.0.0.1:{port}"
insecure = true
"""

_BINDINGS_TOML = """\
[mqtt.site]
url = "mqtt://127.0.0.1:{port}"

[[binding]]
name = "motion"
broker = "site"
pack = "pack/layout"
topic = "plant/{{machine}}/raw"
partition = ["machine"]

[binding.payload]
rate_hz = {rate_hz}
key = ["seq"]

[binding.window]
size_s = 1.0
hop_s = 1.0
idle_s = 600.0

[binding.result]
topic = "plant/{{machine}}/inference"
"""


class LoneAgent:
    """An agent whose pack never is sure: it has no certificate, so every window is a question to the hub."""

    def __init__(
        self,
        folder: Path,
        mqtt_port: int,
        *,
        has_hub: bool = True,
        hub_port: int | None = None,
        bake_s: float = 60.0,
        max_bytes: int = 1 << 20,
    ) -> None:
        self.folder = folder / "agent"
        self.folder.mkdir()
        self.config = self.folder / "agent.toml"
        self._ready_file = self.folder / "ready.json"
        (self.folder / "pack").mkdir()
        self.key = generate_site_key(self.folder / "site.key")
        (self.folder / "site.pub").write_text(self.key.public.pem)
        build_tiny(self.folder / "pack", sign=self.key)
        hub = _HUB_TOML.format(port=hub_port or free_port()) if has_hub else ""
        self.config.write_text(_AGENT_TOML.format(hub=hub, bake_s=bake_s, max_bytes=max_bytes))
        (self.folder / "bindings.toml").write_text(_BINDINGS_TOML.format(port=mqtt_port, rate_hz=float(SAMPLES)))
        self.process = Process(
            [
                installed_program("edge-agent"),
                "run",
                "--config",
                str(self.config),
                "--ready-file",
                str(self._ready_file),
            ],
            log_path=folder / "edge-agent.log",
            cwd=folder,
        )

    def start(self) -> None:
        """Start it and wait for its ready file."""
        self._ready_file.unlink(missing_ok=True)
        self.process.start()

        def ready() -> bool:
            if not self.process.is_running:
                raise AssertionError(f"the agent ended at start:\n{self.process.log}")
            return self._ready_file.exists()

        wait_until(ready, DEADLINE_S, f"the agent runs, see {self.process.log_path}")

    def start_connected(self) -> None:
        """Start it and wait until it has subscribed."""
        self.start()
        wait_until(self.is_connected, DEADLINE_S, "the agent has subscribed")

    def is_connected(self) -> bool:
        """Whether its broker has answered its subscriptions."""
        return any(peer["peer"] == "mqtt:site" and peer["connected"] for peer in self.status()["peers"])

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        return self.process.terminate()

    def audit(self) -> tuple[int, dict[str, Any]]:
        """Exit status and document of `edge-agent audit --json`."""
        return self._document("audit")

    def status(self) -> dict[str, Any]:
        """The document of `edge-agent status --json`."""
        return self._document("status")[1]

    def packs(self, *arguments: str) -> dict[str, Any]:
        """The document of `edge-agent packs … --json`, which must succeed."""
        status, document = self._document("packs", *arguments)
        assert status == 0
        return document

    def outbox(self, *arguments: str) -> dict[str, Any]:
        """The document of `edge-agent outbox … --json`, which must succeed."""
        status, document = self._document("outbox", *arguments)
        assert status == 0
        return document

    def count(self, name: str) -> int:
        """One number of the audit, by the counter's name."""
        _, document = self.audit()
        terms = [t for e in document["equations"] for t in (e["left"], *e["terms"])]
        return sum(term["value"] for term in terms if term["name"] == name)

    def _document(self, *command: str) -> tuple[int, dict[str, Any]]:
        finished = run_to_end(
            [installed_program("edge-agent"), *command, "--json", "--config", str(self.config)], cwd=self.folder
        )
        assert finished.stdout, finished.stderr
        document: dict[str, Any] = json.loads(finished.stdout)
        return finished.returncode, document


def message(second: int) -> str:
    """One second of samples, which is one window; the same for the same second."""
    samples = np.random.default_rng(second).normal(size=(SAMPLES, CHANNELS)).round(3).tolist()
    start = datetime.fromtimestamp(START_S + second, UTC).isoformat().replace("+00:00", "Z")
    return json.dumps({"t0": start, "seq": second, "samples": samples})


def send(probe: MqttProbe, seconds: range, machine: str = "m1") -> None:
    """Send these seconds, each acknowledged by the broker before the next."""
    for second in seconds:
        probe.publish(f"plant/{machine}/raw", message(second))


def events(probe: MqttProbe) -> list[dict[str, Any]]:
    """Every event so far."""
    return [one.json() for one in probe.on(RESULTS)]


def wait_for_ids(probe: MqttProbe, count: int) -> set[str]:
    """Wait until there are events of `count` predictions; their ids."""
    found = wait_until(
        lambda: ids if len(ids := {event["id"] for event in events(probe)}) >= count else None,
        DEADLINE_S,
        f"{count} predictions",
    )
    assert found is not None
    return found
