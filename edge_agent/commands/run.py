"""Owns `edge-agent run`: the daemon, from its config to a clean stop on SIGTERM or SIGINT."""

import argparse
import gc
import logging
import os
import queue
import signal
from pathlib import Path

from edge_agent.adapters.clock import SystemClock
from edge_agent.app import Agent
from edge_agent.commands.arguments import Subparsers, add_config
from edge_agent.config import load
from edge_agent.reporting.run_file import FILE_NAME, Running
from model_packs.process import footprint, logs
from model_packs.process.exits import Exit

_COLLECT_AFTER = (20_000, 20, 100)
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

logger = logging.getLogger(__name__)


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("run", help="run the agent", description="Run until SIGTERM or Ctrl-C.")
    add_config(parser)
    parser.add_argument(
        "--ready-file",
        type=Path,
        metavar="FILE",
        help="write this JSON file (pid, device, http_host, http_port, oip_host, oip_port) once everything runs",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until a signal.

    Raises:
        SettingsError: The files have problems.
        AgentError: Something on this device prevents it.
    """
    config = load(args.config)
    logs.configure(config.agent.log.level, json=config.agent.log.is_json)
    # Not an Event: set() in a handler that interrupts this thread's wait() waits for ever for a lock that wait() holds.
    # A SimpleQueue's put() is made for signal handlers (library reference, queue.SimpleQueue).
    stop_signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda received, _: stop_signals.put(received))
    agent = Agent(config, SystemClock())
    run_file = config.agent.device.state_dir / FILE_NAME
    agent.open()
    # What is built by now lives as long as the process, and a pass leaves no cycles behind: the collector need not look
    # through all of it every few passes, between a message and its answer.
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    try:
        oip = agent.oip
        calls = () if oip is None else (oip.host, oip.port)
        running = Running(os.getpid(), config.agent.device.id, agent.http.host, agent.http.port, *calls)
        for path in (run_file, *([args.ready_file] if args.ready_file else [])):
            running.write(path)
        footprint.give_back()
        stop_signals.get()
        logger.info("agent_stopping", extra={"device": config.agent.device.id})
        run_file.unlink(missing_ok=True)
    finally:
        agent.close()
    return Exit.OK
