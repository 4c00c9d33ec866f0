"""Answers to one prediction have an order."""

import pytest

from cloud_hub.core.revisions import Answered, next_revision
from protos.messages.inference import Tier


@pytest.mark.parametrize(
    ("last", "tier", "revision"),
    [
        (None, Tier.HUB, 1),
        (None, Tier.EDGE, 1),
        (Answered(1, Tier.HUB), Tier.HUB, 2),
        (Answered(1, Tier.HUB), Tier.HUMAN, 2),
        (Answered(4, Tier.HUMAN), Tier.HUMAN, 5),
        (Answered(2, Tier.HUMAN), Tier.HUB, None),
        (Answered(1, Tier.HUB), Tier.EDGE, None),
    ],
)
def test_revisions_grow_by_one_and_never_step_down(last: Answered | None, tier: Tier, revision: int | None) -> None:
    """A lower tier never follows a higher one; the agent's own answer is revision 0."""
    assert next_revision(last, tier, 0) == revision


@pytest.mark.parametrize(
    ("last", "tier", "revision"),
    [
        (None, Tier.HUB, 1),
        (Answered(1, Tier.HUB), Tier.HUMAN, 101),
        (None, Tier.HUMAN, 101),
        (Answered(300, Tier.HUMAN), Tier.HUMAN, 301),
    ],
)
def test_after_a_restore_people_speak_above_what_is_forgotten(last: Answered | None, tier: Tier, revision: int) -> None:
    """A device may hold the full model's answer, which is the same again, and a correction that is not known here."""
    assert next_revision(last, tier, 100) == revision
