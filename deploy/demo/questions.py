"""Owns what is asked of an agent, and what the driver knows about it beforehand: the truth, and each pack's own answer.

None of it travels. Who finds it out is `baselines`; who holds answers against it is `judge`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from deploy.demo.fleet import WindowKey
from model_packs.shipped.motion_band.dataset import Wrist

BOXES: Final = "boxes"
"""The group of what the branch reads."""


def wrist_group(wrist: Wrist) -> str:
    """The group of a wrist's windows."""
    return f"{wrist} wrist"


@dataclass(frozen=True, slots=True)
class Question:
    """One model input and what is known about it.

    Attributes:
        truth: What the person did, or wrote.
        group: Where it comes from, in words: figures are given by group.
        cluster: Inputs of one cluster resemble each other: the windows of one recording.
        edge_labels: What an edge pack answers when it runs alone, by name@version; None when it cannot score it.
        hub_label: What the hub pack answers when it sees everything.
    """

    truth: str
    group: str
    cluster: int
    edge_labels: Mapping[str, str | None] = field(compare=False)
    hub_label: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it was put.

    Attributes:
        is_compared: Whether its answer counts in the certified comparison: the certified population, shown for the
            first time. What is shown again is no new evidence.
    """

    key: WindowKey
    question: Question
    is_compared: bool
