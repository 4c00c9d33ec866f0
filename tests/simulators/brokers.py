"""Owns the real MQTT brokers of the tests: mosquitto with the shipped config, and iotcore (rumqttd).

Each runs as a process on a free port of 127.0.0.1, can be killed and started again on the same port, and keeps its
files in the folder that it is given. What is sent through them belongs to the tests.
"""

import getpass
import sys
from pathlib import Path
from typing import Protocol

from tests.simulators.network import LOOPBACK, free_port, is_listening
from tests.simulators.processes import Process
from tests.simulators.requirements import require
from tests.simulators.waiting import wait_until

SHIPPED_CONFIG = Path(__file__).parents[2] / "deploy" / "mosquitto" / "mosquitto.conf"

MAX_PAYLOAD_BYTES = 1_000_000

_START_DEADLINE_S = 15.0

# iotcore's own API for "be the broker until you are ended"; a process of ours can be killed, its Broker.start() cannot.
_IOTCORE_MAIN = """
import sys
from iotcore import Broker
Broker(listen=sys.argv[1], port=int(sys.argv[2]), max_payload_size=int(sys.argv[3])).run_forever()
"""


def config_without_saves() -> str:
    """The shipped config without saving at each change: that writes the whole queue, and a bench would measure it."""
    shipped = SHIPPED_CONFIG.read_text()
    return shipped.replace("autosave_on_changes true", "").replace("autosave_interval 1", "")


class Broker(Protocol):
    """A broker process under the test's control."""

    kind: str
    host: str
    port: int
    speaks_mqtt5: bool
    keeps_messages_over_a_kill: bool

    def start(self) -> None:
        """Start it and return when it accepts connections."""

    def stop(self) -> None:
        """End it as an administrator would (SIGTERM)."""

    def kill(self) -> None:
        """End it at once (SIGKILL); may be called twice."""


class Mosquitto:
    """mosquitto on a free port with a given config file, by default the shipped one.

    Added to it are only a listener on loopback, the persistence folder, and the user to run as
    (mosquitto started by root would otherwise become another user, who cannot write there).
    """

    kind = "mosquitto"
    host = LOOPBACK
    speaks_mqtt5 = True
    keeps_messages_over_a_kill = True

    def __init__(self, folder: Path, *, config: str | None = None) -> None:
        self.port = free_port()
        self._folder = folder
        self._config = SHIPPED_CONFIG.read_text() if config is None else config
        program = require("mosquitto", "mosquitto")
        config_path = folder / "mosquitto.conf"
        self._config_path = config_path
        self._process = Process([program, "-c", str(config_path)], log_path=folder / "mosquitto.log", cwd=folder)

    @property
    def pid(self) -> int:
        """The running broker's process id."""
        return self._process.pid

    def start(self) -> None:
        """Write the config and start; returns when the port accepts connections."""
        data = self._folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        own = [
            f"listener {self.port} {self.host}",
            "allow_anonymous true",
            f"persistence_location {data}/",
            f"user {getpass.getuser()}",
        ]
        self._config_path.write_text(self._config + "\n# The test's own.\n" + "\n".join(own) + "\n")
        _start_listening(self._process, self.port)

    def stop(self) -> None:
        """SIGTERM, on which mosquitto saves and leaves."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL: what was not saved is lost."""
        self._process.kill()


class Iotcore:
    """The embedded broker of the demo: MQTT 3.1.1 only (a 5 CONNECT gets no answer), all state in memory."""

    kind = "iotcore"
    host = LOOPBACK
    speaks_mqtt5 = False
    keeps_messages_over_a_kill = False

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._process = Process(
            [sys.executable, "-c", _IOTCORE_MAIN, self.host, str(self.port), str(MAX_PAYLOAD_BYTES)],
            log_path=folder / "iotcore.log",
            cwd=folder,
        )

    def start(self) -> None:
        """Start; returns when the port accepts connections."""
        _start_listening(self._process, self.port)

    def stop(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()


def _start_listening(process: Process, port: int) -> None:
    process.start()

    def listening() -> bool:
        if not process.is_running:
            raise AssertionError(f"the broker ended at start:\n{process.log}")
        return is_listening(port)

    wait_until(listening, _START_DEADLINE_S, f"a broker on port {port}")
