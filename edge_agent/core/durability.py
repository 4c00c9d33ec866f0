"""Owns what a binding asks of the journal: how safe an acknowledged record is, and what a failing disk may do.

Keeping to it is the writer's (`adapters/sqlite/writer.py`). A unit is committed as safely as its terms say, or more.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Durability(StrEnum):
    """What an acknowledged record survives."""

    POWER = "power"
    """A power cut: it is on the disk before it is acknowledged."""

    PROCESS = "process"
    """The death of the agent, not of the machine: it is handed to the operating system before it is acknowledged."""

    NONE = "none"
    """Nothing: it is acknowledged at once, and written behind that."""


class OnJournalFailure(StrEnum):
    """What becomes of records while nothing can be committed."""

    ANSWER = "answer"
    """They are answered, acknowledged and counted as shed."""

    HOLD = "hold"
    """They are not acknowledged before they are durable; so the broker holds back the next ones, and answers stop."""


@dataclass(frozen=True, slots=True)
class JournalTerms:
    """Both, for one binding."""

    durability: Durability = Durability.POWER
    on_failure: OnJournalFailure = OnJournalFailure.ANSWER

    @property
    def is_held(self) -> bool:
        """Whether nothing may be acknowledged that is not durable."""
        return self.on_failure is OnJournalFailure.HOLD


DEFAULT_TERMS = JournalTerms()
"""What is promised where nothing else is said."""


def needs_sync(asked: Iterable[Durability]) -> bool:
    """Whether a commit has to reach the disk before anything in it is acknowledged: if one of its parts asks for it."""
    return Durability.POWER in asked
