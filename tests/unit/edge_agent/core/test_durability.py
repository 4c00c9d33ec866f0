"""What a binding may ask of the journal."""

import pytest

from edge_agent.core.durability import Durability, JournalTerms, OnJournalFailure, needs_sync


@pytest.mark.parametrize(
    ("asked", "is_needed"),
    [
        ((), False),
        ((Durability.NONE, Durability.PROCESS), False),
        ((Durability.PROCESS, Durability.POWER, Durability.NONE), True),
    ],
)
def test_one_part_that_must_survive_a_power_cut_syncs_the_whole_commit(
    asked: tuple[Durability, ...], *, is_needed: bool
) -> None:
    """A group is committed as safely as the most careful of its parts asks for, never more weakly."""
    assert needs_sync(asked) is is_needed


def test_a_record_is_answered_rather_than_held_unless_told_otherwise() -> None:
    """Inference shares fate with nothing: holding is a choice."""
    assert not JournalTerms().is_held
    assert JournalTerms(on_failure=OnJournalFailure.HOLD).is_held
