"""Owns which models leave when another needs their memory: the least recently used, never a pinned one."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resident:
    """One loaded model.

    Attributes:
        pack: name@version.
        size_bytes: What it takes.
        last_used: A number that grows with every use of any model.
        is_pinned: It stays.
        is_busy: Something waits for it or runs; it is better to take another.
    """

    pack: str
    size_bytes: int
    last_used: int
    is_pinned: bool
    is_busy: bool


def evictions(residents: Iterable[Resident], needed_bytes: int, budget_bytes: int) -> tuple[str, ...] | None:
    """Choose what to unload, so that another model finds room.

    Args:
        residents: What is loaded.
        needed_bytes: What the other takes.
        budget_bytes: What all may take together; 0: no bound.

    Returns:
        The packs to unload: idle ones before busy ones, the least recently used first; None if there is no room even
        without all that may go.
    """
    loaded = list(residents)
    if not budget_bytes:
        return ()
    excess = sum(one.size_bytes for one in loaded) + needed_bytes - budget_bytes
    leaving: list[str] = []
    candidates = (one for one in loaded if not one.is_pinned)
    for one in sorted(candidates, key=lambda one: (one.is_busy, one.last_used, one.pack)):
        if excess <= 0:
            break
        leaving.append(one.pack)
        excess -= one.size_bytes
    return tuple(leaving) if excess <= 0 else None
