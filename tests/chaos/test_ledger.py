"""The control of the chaos suite: a loss, a second application, a changed input and an invention are all told."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.core.timestamps import to_text
from tests.chaos.ledger import Applied, balance, id_of
from tests.chaos.listener import Heard
from tests.chaos.oracle import START_S, Sent
from tests.simulators.packs import CHANNELS, SAMPLES

DEVICE = "press-07"
SENT = tuple(Sent("m1", START_S + second) for second in range(4))
IDS = tuple(id_of(DEVICE, sent) for sent in SENT)


@dataclass
class Told:
    """What an oracle knows that has sent four messages."""

    acked: frozenset[Sent] = frozenset(SENT)
    sent: frozenset[Sent] = frozenset(SENT)

    def window(self, sent: Sent) -> NDArray[np.float32]:
        """Follows from the name, as the real one's."""
        return np.full((SAMPLES, CHANNELS), sent.second - START_S, np.float32)


@dataclass
class Sinks:
    """A hub and a site where all is well, to be spoilt."""

    times: Counter[str] = field(default_factory=lambda: Counter(IDS))
    verdicts: Counter[str] = field(default_factory=lambda: Counter(IDS))
    inputs: dict[str, bytes] = field(
        default_factory=lambda: {name: Told().window(sent).tobytes() for name, sent in zip(IDS, SENT, strict=True)}
    )
    heard: dict[str, Heard] = field(
        default_factory=lambda: {
            name: Heard(sent.machine, to_text(sent.start_ns), {0: {"edge a"}, 1: {"hub b"}})
            for name, sent in zip(IDS, SENT, strict=True)
        }
    )

    def problems(self) -> tuple[str, ...]:
        """What the books say."""
        return balance(DEVICE, Told(), Applied(self.times, self.inputs, self.verdicts), self.heard).problems


SPOILT: dict[str, Callable[[Sinks], object]] = {
    "owed and not applied": lambda sinks: sinks.times.pop(IDS[0]),
    "never revised": lambda sinks: sinks.heard[IDS[1]].outputs.pop(1),
    "more than once": lambda sinks: sinks.times.update([IDS[2]]),
    "answered more than once": lambda sinks: sinks.verdicts.update([IDS[2]]),
    "unknown to the oracle, at the hub": lambda sinks: sinks.times.update(["stranger"]),
    "unknown to the oracle, at the site": lambda sinks: sinks.heard.update(stranger=Heard("m1", "", {1: {"hub b"}})),
    "another input": lambda sinks: sinks.inputs.update({IDS[0]: sinks.inputs[IDS[1]]}),
    "two answers in one revision": lambda sinks: sinks.heard[IDS[0]].outputs[1].add("hub c"),
    "another window": lambda sinks: setattr(sinks.heard[IDS[0]], "partition", "m2"),
}


def test_books_that_balance_have_no_problems() -> None:
    """Four messages, each applied, answered and told once."""
    assert Sinks().problems() == ()


def test_another_pack_may_say_something_else() -> None:
    """What comes again after a crash is answered by the pack that runs then."""
    sinks = Sinks()
    sinks.heard[IDS[0]].outputs[0].add("other-edge c")
    assert sinks.problems() == ()


@pytest.mark.parametrize("problem", SPOILT)
def test_what_is_wrong_is_told(problem: str) -> None:
    """One thing is spoilt; the books name just that."""
    sinks = Sinks()
    SPOILT[problem](sinks)
    (told,) = sinks.problems()
    assert problem in told
