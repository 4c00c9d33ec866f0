"""Owns whether a request is let in to wait for a model: the bounds, and what cannot be done in its time.

What is refused is refused at once, with the time after which there is likely to be a place.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

MIN_RETRY_S: Final = 0.005
MAX_RETRY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait for one model.

    Attributes:
        rows: Windows, of one rank and all before it.
        per_caller: Requests of one caller in one rank.
    """

    rows: int
    per_caller: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """How things stand when a request comes.

    Attributes:
        rows_before: Windows that would run before it.
        of_caller: Requests of its caller that wait in its rank.
        wait_s: How long it would wait.
        run_s: How long its run would take.
    """

    rows_before: int
    of_caller: int
    wait_s: float
    run_s: float


class Reason(Enum):
    """Why a request is not let in."""

    FULL = "too many windows wait for it"
    CALLER_FULL = "too many requests of this caller wait for it"
    TOO_LATE = "what waits before this request would take longer than its deadline allows"
    TOO_SHORT = "one run takes longer than the deadline allows"


def refusal(bounds: Bounds, now: Waiting, rows: int, time_left_s: float | None) -> Reason | None:
    """Judge a request.

    Args:
        bounds: How much may wait.
        now: How things stand.
        rows: Its windows.
        time_left_s: Until its deadline; None without one.

    Returns:
        Why it is refused; None lets it in. One request is let in where nothing waits, whatever its size.
    """
    if now.rows_before and now.rows_before + rows > bounds.rows:
        return Reason.FULL
    if now.of_caller >= bounds.per_caller:
        return Reason.CALLER_FULL
    if time_left_s is None:
        return None
    if time_left_s <= 0 or now.run_s > time_left_s:
        return Reason.TOO_SHORT
    return Reason.TOO_LATE if now.wait_s + now.run_s > time_left_s else None


def retry_after_s(wait_s: float) -> float:
    """Tell a refused caller when to come again.

    Args:
        wait_s: How long what waits will take.

    Returns:
        That time within sensible bounds.
    """
    return min(max(wait_s, MIN_RETRY_S), MAX_RETRY_S)
