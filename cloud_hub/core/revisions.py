"""Owns the order of answers to one prediction: revisions grow by one, and a lower tier never follows a higher one."""

from dataclasses import dataclass

from protos.messages.inference import Tier

_AGENTS_REVISION = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """The latest answer to a prediction that the hub has logged."""

    revision: int
    tier: Tier


def next_revision(last: Answered | None, tier: Tier) -> int | None:
    """Number a new answer.

    Args:
        last: The latest logged answer; None when only the agent's own (revision 0, tier edge) exists.
        tier: Who answers now.

    Returns:
        The revision, or None when the answer must not follow: somebody higher has spoken.
    """
    before = Answered(_AGENTS_REVISION, Tier.EDGE) if last is None else last
    return None if tier.rank < before.tier.rank else before.revision + 1
