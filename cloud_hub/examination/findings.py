"""Owns what one check of the doctor says: a state, a sentence, and a mend."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check went (the words of `edge-agent doctor`, too)."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check; `mend` is empty when nothing has to be done."""

    name: str
    state: State
    message: str
    mend: str = ""


def ok(name: str, message: str) -> Finding:
    """Nothing to do."""
    return Finding(name, State.OK, message)


def warning(name: str, message: str, mend: str) -> Finding:
    """It works, and should be seen to."""
    return Finding(name, State.WARNING, message, mend)


def failed(name: str, message: str, mend: str) -> Finding:
    """It does not work."""
    return Finding(name, State.FAILED, message, mend)
