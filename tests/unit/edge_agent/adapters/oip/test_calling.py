"""What both protocols do around a call: whose time is over is told so, before a session runs for nobody."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.adapters.oip.calling import Caller, Calling
from edge_agent.adapters.oip.models import Models, Served, Wishes
from edge_agent.adapters.oip.shared_memory import SharedMemory
from edge_agent.core.local_call import CallAnswer
from edge_agent.errors import CallError
from edge_agent.inference.revisions import Inbox
from edge_agent.ports import BindingName
from protos.messages.inference import ModelUse
from protos.status import Status
from tests.unit.edge_agent.adapters.sqlite.builders import TestClock
from tests.unit.edge_agent.packs.manifests import MANIFEST

USE = ModelUse("tiny-edge@1.0.0", MANIFEST.digest)


class Busy:
    """A binding whose calls wait a second for their turn."""

    manifest = MANIFEST
    use = USE

    def __init__(self, clock: TestClock) -> None:
        self.runs = 0
        self._clock = clock

    @property
    def running(self) -> "Busy":
        """What answers."""
        return self

    def call(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        version: str = "",
        inbox: object = None,
        is_wanted: Callable[[], bool] | None = None,
    ) -> CallAnswer:
        """Wait, ask whether the caller is still there, run."""
        del inputs, version, inbox
        self._clock.pass_s(1.0)
        if is_wanted is not None and not is_wanted():
            raise CallError("the caller left before its turn", "call again", Status.CANCELLED)
        self.runs += 1
        return CallAnswer(USE, "1.0.0", {}, ())


@pytest.mark.parametrize("wait_s", [0.0, 60.0])
@pytest.mark.parametrize(("timeout_s", "runs"), [(0.5, 0), (2.0, 1), (None, 1)])
def test_a_call_whose_time_is_over_before_its_turn_does_not_run(
    timeout_s: float | None, runs: int, wait_s: float
) -> None:
    """The `timeout` that a request states counts while it waits, over REST, too, where nobody sees a caller leave."""
    clock = TestClock()
    callee = Busy(clock)
    models = Models({BindingName("press"): cast("Any", callee)}, dict, list, clock)
    calling = Calling(models, SharedMemory(), 1, lambda left_s, _: Inbox(left_s, clock.monotonic_s), clock.monotonic_s)
    served: Served = models.find("press")
    inputs = {"window": np.ones((1, 5, 2), np.float32)}
    with nullcontext() if runs else pytest.raises(CallError, match="the time of the call is over"):
        calling.call(served, inputs, "", Wishes(wait_s, timeout_s), Caller(clock.monotonic_s))
    assert callee.runs == runs


@pytest.mark.parametrize(
    ("left_s", "patience_s"),
    [(None, 60.0), (100.0, 60.0), (60.0, 59.75), (1.0, 0.9), (0.1, 0.08), (0.01, 0.0)],
)
def test_who_waits_for_the_hub_is_answered_before_its_deadline(left_s: float | None, patience_s: float) -> None:
    """A tenth of the time left is for the answer's way back: 20 ms at least, a quarter of a second at most."""
    clock = TestClock()
    models = Models({BindingName("press"): cast("Any", Busy(clock))}, dict, list, clock)
    calling = Calling(models, SharedMemory(), 1, lambda left_s, _: Inbox(left_s, clock.monotonic_s), clock.monotonic_s)
    with calling.waiting(Wishes(60.0), Caller(clock.monotonic_s, left_s=lambda: left_s)) as found:
        assert found == pytest.approx(patience_s)
