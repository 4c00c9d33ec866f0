"""Owns the order in which the second student comes to the agents: a table of steps, each waiting for a fact.

Pure. The facts come from the judge and the hub; orders are carried out by `story`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple

from deploy.demo.fleet import LEFT, WRISTS, AgentName
from deploy.demo.report import MENDED_WINDOWS

RIGHT: Final = tuple(member.name for member in WRISTS if member is not LEFT)


class Step(Enum):
    """Where the rollout is: what it waits for."""

    COMPARISON = auto()
    RIGHT_WRISTS = auto()
    REFUSAL = auto()
    LEFT_WRIST = auto()
    DONE = auto()


class Order(Enum):
    """What is done when the wait is over."""

    PUBLISH_AND_UPDATE_RIGHT = auto()
    PATCH_LEFT = auto()
    UPDATE_LEFT = auto()
    FINISH = auto()


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known just now.

    Attributes:
        is_compared: Whether every window of the certified comparison was shown, and its answer is closed.
        installed: Agents that have committed the second student.
        is_refused: Whether the hub knows that the left wrists' agent will not run the damaged patch.
        mended_windows: Windows of left wrists that the second student answered.
    """

    is_compared: bool
    installed: frozenset[AgentName]
    is_refused: bool
    mended_windows: int


class Rule(NamedTuple):
    """A row of the table: the fact that ends a step, what is done then, and the next step."""

    fact: Callable[[Facts], bool]
    order: Order
    then: Step


# The left wrists come last: their row is the one that is to be seen mending. The patch is tried on them first.
TABLE: Final[Mapping[Step, Rule]] = {
    Step.COMPARISON: Rule(lambda facts: facts.is_compared, Order.PUBLISH_AND_UPDATE_RIGHT, Step.RIGHT_WRISTS),
    Step.RIGHT_WRISTS: Rule(lambda facts: facts.installed.issuperset(RIGHT), Order.PATCH_LEFT, Step.REFUSAL),
    Step.REFUSAL: Rule(lambda facts: facts.is_refused, Order.UPDATE_LEFT, Step.LEFT_WRIST),
    Step.LEFT_WRIST: Rule(
        lambda facts: LEFT.name in facts.installed and facts.mended_windows >= MENDED_WINDOWS, Order.FINISH, Step.DONE
    ),
}


def advance(step: Step, facts: Facts) -> tuple[Step, Order | None]:
    """Go on, if the fact is there that the step waits for.

    Args:
        step: Where the rollout is.
        facts: What is known.

    Returns:
        The step from now on, and what is to be done, if anything.
    """
    rule = TABLE.get(step)
    if rule is None or not rule.fact(facts):
        return step, None
    return rule.then, rule.order
