"""Owns an agent whose wall clock jumps: the real one, built by its own parts, on a clock that a file sets wrong.

    python -m tests.chaos.stepped_agent AGENT_TOML OFFSET_FILE

The file holds seconds to add to the wall clock; it may be rewritten at any time. All else is `edge-agent run`.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from edge_agent.adapters.clock import SystemClock
from edge_agent.app import Agent
from edge_agent.config import load
from edge_agent.reporting.run_file import FILE_NAME, Running
from model_packs.process import logs

_NS_PER_S = 1_000_000_000


class SteppedClock(SystemClock):
    """The machine's clock, its wall time wrong by what a file says.

    Args:
        offset: The file.
    """

    def __init__(self, offset: Path) -> None:
        super().__init__()
        self._offset = offset

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch, UTC, and wrong."""
        return super().wall_ns() + int(self._offset.read_text() or 0) * _NS_PER_S


def main(config_path: Path, offset: Path) -> None:
    """Run until SIGTERM."""
    config = load(config_path)
    logs.configure(config.agent.log.level, json=True)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    agent = Agent(config, SteppedClock(offset))
    agent.open()
    try:
        running = Running(os.getpid(), config.agent.device.id, agent.http.host, agent.http.port)
        running.write(config.agent.device.state_dir / FILE_NAME)
        while not stop.wait(1.0):  # short waits, so that the handler runs
            pass
    finally:
        agent.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
