"""Owns the order of answers to one prediction: revisions grow, and a lower tier never follows a higher one.

They grow by one, but for the first word of a person after the hub's database was put back from a backup.
"""

from dataclasses import dataclass

from protos.messages.inference import Tier

_AGENTS_REVISION = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """The latest answer to a prediction that the hub has logged."""

    revision: int
    tier: Tier


def next_revision(last: Answered | None, tier: Tier, floor: int) -> int | None:
    """Number a new answer.

    Args:
        last: The latest logged answer; None when only the agent's own (revision 0, tier edge) exists.
        tier: Who answers now.
        floor: Above which people speak (`core.restores`): what they said before may be forgotten here, not elsewhere.

    Returns:
        The revision, or None when the answer must not follow: somebody higher has spoken.
    """
    before = Answered(_AGENTS_REVISION, Tier.EDGE) if last is None else last
    if tier.rank < before.tier.rank:
        return None
    return max(before.revision, floor if tier is Tier.HUMAN else _AGENTS_REVISION) + 1
