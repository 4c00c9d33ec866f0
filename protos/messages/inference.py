"""What both sides say about one inference: which models took part, and in which tier the answer was made.

Tensors and outputs are the packs' own (`model_packs.tensors`, `model_packs.outputs`).
"""

from dataclasses import dataclass
from enum import StrEnum


class Tier(StrEnum):
    """Who answered; a lower tier never follows a higher one for the same prediction."""

    EDGE = "edge"
    HUB = "hub"
    HUMAN = "human"

    @property
    def rank(self) -> int:
        """Place in the order edge < hub < human."""
        return (Tier.EDGE, Tier.HUB, Tier.HUMAN).index(self)


class Role(StrEnum):
    """How a model took part in an answer."""

    ACTIVE = "active"
    SHADOW = "shadow"
    MEMBER = "member"


@dataclass(frozen=True, slots=True)
class ModelUse:
    """One model that took part: `pack` is name@version, `digest` is the sha256 of its pack.json."""

    pack: str
    digest: str
    role: Role = Role.ACTIVE
