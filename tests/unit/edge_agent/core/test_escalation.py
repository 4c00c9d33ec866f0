"""The table of an escalation's life."""

from itertools import product

import pytest

from edge_agent.core.escalation import (
    MOVES,
    PENDING,
    TERMINAL,
    IllegalMoveError,
    Move,
    Outcome,
    next_state,
    sources,
)


def test_states_are_pending_or_ends() -> None:
    """Together with "not asked" they are all there is."""
    assert not PENDING & TERMINAL
    assert PENDING | TERMINAL | {Outcome.NONE} == set(Outcome)


def test_the_only_move_out_of_an_end_is_a_late_answer() -> None:
    """What was counted as ended stays ended, but for that."""
    out = {(state, move): to for (state, move), to in MOVES.items() if state not in PENDING}
    assert out == {(Outcome.EXPIRED, Move.ANSWER): Outcome.ANSWERED_LATE}


@pytest.mark.parametrize("state", sorted(PENDING))
def test_from_every_live_state_every_end_can_be_reached(state: Outcome) -> None:
    """Nothing is stuck."""
    assert {to for (start, _), to in MOVES.items() if start is state} >= {
        Outcome.ANSWERED,
        Outcome.REJECTED,
        Outcome.EXPIRED,
        Outcome.EVICTED,
        Outcome.DEAD_LETTERED,
        Outcome.PURGED,
    }


def test_the_usual_way() -> None:
    """Queued, sent, acked, answered."""
    state = Outcome.QUEUED
    for move in (Move.SEND, Move.ACK, Move.ANSWER):
        state = next_state(state, move)
    assert state is Outcome.ANSWERED


@pytest.mark.parametrize("state", sorted(PENDING))
def test_a_new_stream_starts_over(state: Outcome) -> None:
    """What is not answered is sent again."""
    assert next_state(state, Move.REQUEUE) is Outcome.QUEUED


@pytest.mark.parametrize(("state", "move"), sorted(set(product(Outcome, Move)) - set(MOVES)))
def test_any_other_move_is_an_error(state: Outcome, move: Move) -> None:
    """It is never silently applied; the error names both."""
    with pytest.raises(IllegalMoveError) as caught:
        next_state(state, move)
    assert (caught.value.state, caught.value.move) == (state, move)


def test_sources_of_a_move() -> None:
    """For updates of many rows."""
    assert sources(Move.SEND) == {Outcome.QUEUED}
    assert sources(Move.ANSWER) == {*PENDING, Outcome.EXPIRED}
