"""Owns the moments in which a test may kill a program: each has a name, and nothing happens there unless it is armed.

A program's `cli.py` arms what the environment's `TANDEM_CRASH_AT` says: `after_commit`, or `after_commit:3` for the
third time that the moment is reached. Armed, the process ends there as by a power cut: SIGKILL, nothing is cleaned up.
Where a moment lies is told by the call of `crash_point` there; that nothing is lost, by tests/chaos and, where both
programs live in one process that goes on, tests/simulation.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

VARIABLE = "TANDEM_CRASH_AT"


class CrashPoint(StrEnum):
    """Moments of the agent, then of the hub, in the order in which a record meets them."""

    RECEIVED = "received"
    INFERRED = "inferred"
    ANSWERED = "answered"
    BEFORE_COMMIT = "before_commit"
    AFTER_COMMIT = "after_commit"
    AFTER_ACK = "after_ack"
    PUBACK = "puback"
    UPLOADED = "uploaded"
    HUB_ACK = "hub_ack"
    VERDICT = "verdict"
    VERDICT_STORED = "verdict_stored"
    HUB_RECEIVED = "hub_received"
    HUB_APPLIED = "hub_applied"
    HUB_SCORED = "hub_scored"
    HUB_ANSWERED = "hub_answered"


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(slots=True)
class _Armed:
    """Passes that are left, and what happens at the last one."""

    left: int
    end: Callable[[], None]


_armed: dict[CrashPoint, _Armed] = {}


def arm(text: str, end: Callable[[], None] = _kill) -> None:
    """Choose where this process ends.

    Args:
        text: `name` or `name:times`; empty for nowhere.
        end: What happens there; a simulated program's end is an exception that nothing catches.

    Raises:
        ValueError: There is no such moment.
    """
    _armed.clear()
    if text:
        name, _, times = text.partition(":")
        _armed[CrashPoint(name)] = _Armed(int(times or 1), end)


def crash_point(point: CrashPoint) -> None:
    """End the process here, if that is what was asked for; else nothing."""
    if not _armed or point not in _armed:
        return
    armed = _armed[point]
    armed.left -= 1
    if armed.left <= 0:
        armed.end()
