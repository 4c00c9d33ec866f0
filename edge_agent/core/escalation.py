"""Owns the life of an escalation: its states, the moves between them, and which states are ends.

    queued --send--> sent --ack--> acked --answer--> answered
      ^               |              |
      +---requeue-----+--------------+        (a new stream, a new hub incarnation)

Any of the three may also end: expired, evicted, rejected, dead_lettered, purged. The only move out of an end is
expired --answer--> answered_late. A verdict may overtake its ack, and a crash may lose a `send`: so `ack` and `answer`
are taken in every live state. Who moves when is the link's and the store's business.
"""

from enum import StrEnum

from edge_agent.errors import AgentError
from protos.status import Status


class Outcome(StrEnum):
    """Where the escalation of a prediction stands, as events, rows and metrics say it."""

    NONE = "none"
    SUPPRESSED_BUDGET = "suppressed_budget"
    QUEUED = "queued"
    SENT = "sent"
    ACKED = "acked"
    ANSWERED = "answered"
    ANSWERED_LATE = "answered_late"
    REJECTED = "rejected"
    EXPIRED = "expired"
    EVICTED = "evicted"
    DEAD_LETTERED = "dead_lettered"
    PURGED = "purged"


class Move(StrEnum):
    """What can happen to an escalation."""

    SEND = "send"
    ACK = "ack"
    REQUEUE = "requeue"
    ANSWER = "answer"
    REJECT = "reject"
    EXPIRE = "expire"
    EVICT = "evict"
    DEAD_LETTER = "dead_letter"
    PURGE = "purge"


PENDING = frozenset({Outcome.QUEUED, Outcome.SENT, Outcome.ACKED})
"""Live states: something is still to come."""

TERMINAL = frozenset(Outcome) - PENDING - {Outcome.NONE}
"""Ends, each counted by its name."""

WITHOUT_VERDICT = TERMINAL - {Outcome.ANSWERED, Outcome.ANSWERED_LATE}
"""Ends after which nobody answers, unless late."""

_ENDS = {
    Move.ANSWER: Outcome.ANSWERED,
    Move.REJECT: Outcome.REJECTED,
    Move.EXPIRE: Outcome.EXPIRED,
    Move.EVICT: Outcome.EVICTED,
    Move.DEAD_LETTER: Outcome.DEAD_LETTERED,
    Move.PURGE: Outcome.PURGED,
}

MOVES: dict[tuple[Outcome, Move], Outcome] = {
    **{(state, move): end for state in PENDING for move, end in _ENDS.items()},
    **{(state, Move.ACK): Outcome.ACKED for state in PENDING},
    (Outcome.QUEUED, Move.SEND): Outcome.SENT,
    (Outcome.QUEUED, Move.REQUEUE): Outcome.QUEUED,
    (Outcome.SENT, Move.REQUEUE): Outcome.QUEUED,
    (Outcome.ACKED, Move.REQUEUE): Outcome.QUEUED,
    (Outcome.EXPIRED, Move.ANSWER): Outcome.ANSWERED_LATE,
}
"""The whole table; what is not in it may not happen."""


class IllegalMoveError(AgentError):
    """A move that the table does not have: a fault of this program or of the hub, never silently applied.

    Args:
        state: Where the escalation stands.
        move: What was tried.
    """

    def __init__(self, state: Outcome, move: Move) -> None:
        super().__init__(f"an escalation that is {state} cannot {move}", "report it with the log", Status.INTERNAL)
        self.state = state
        self.move = move


def next_state(state: Outcome, move: Move) -> Outcome:
    """Apply one move.

    Args:
        state: Where the escalation stands.
        move: What happened.

    Returns:
        Where it stands now.

    Raises:
        IllegalMoveError: The table has no such move.
    """
    found = MOVES.get((state, move))
    if found is None:
        raise IllegalMoveError(state, move)
    return found


def sources(move: Move) -> frozenset[Outcome]:
    """States that a move may start from, for stores that apply it to many rows at once."""
    return frozenset(state for state, possible in MOVES if possible is move)
