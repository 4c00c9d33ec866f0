"""Owns `edge-agent run`: the daemon, from its config to a clean stop on SIGTERM or SIGINT."""

import argparse
import gc
import logging
import os
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
    stop_signals = _stop_signals()
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
        os.read(stop_signals, 1)
        logger.info("agent_stopping", extra={"device": config.agent.device.id})
        run_file.unlink(missing_ok=True)
    finally:
        agent.close()
    return Exit.OK


def _stop_signals() -> int:
    """A descriptor that a stop signal makes readable, whichever thread the system gives it to.

    No lock or queue does that: this thread would wait on for a handler that runs only when this thread goes on.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda _received, _frame: None)  # the descriptor tells of signals that have a handler
    return reader
