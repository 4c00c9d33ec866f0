"""Another model between two passes: no window is lost, and every answer names the model that gave it."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.inference.answering import Model
from model_packs.engines.tuning import BatchPoint, Tuning
from model_packs.errors import EngineError
from protos.messages.inference import ModelUse
from tests.unit.edge_agent.inference.pipeline_parts import Bench, SteadySession, message
from tests.unit.edge_agent.packs.manifests import MANIFEST

NEW = ModelUse("tiny-edge@2.0.0", "sha256:2")
DEADLINE_S = 30.0


class SlowSession(SteadySession):
    """A model whose run lasts until the test lets it end; closed, it fails."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = threading.Event()
        self.may_end = threading.Event()
        self.is_closed = False

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Wait, then answer."""
        self.runs.set()
        assert self.may_end.wait(DEADLINE_S)
        if self.is_closed:
            raise EngineError("the session is not open", "open it")
        return super().run(inputs)

    def close(self) -> None:
        """From now on it fails."""
        self.is_closed = True


class HalfNumb(SteadySession):
    """A model whose first answer of a run is no number."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """NaN, then good ones."""
        outputs = super().run(inputs)
        outputs[self.output][0] = np.nan
        return outputs


def new_model(bench: Bench, **changes: Any) -> Model:  # noqa: ANN401 - fields of the manifest
    """The second version."""
    return Model(replace(MANIFEST, **changes), bench.session, bench.policy, None, NEW)


def packs(bench: Bench) -> list[str]:
    """Which pack gave each answer."""
    return [event["models"][0]["pack"] for event in bench.events()]


def test_windows_in_flight_are_answered_by_the_next_model() -> None:
    """A window that was half full at the swap keeps its samples and its id; its answer names the new pack."""
    bench = Bench(hop_s=0.4)
    bench.send(0)
    bench.run()
    before = len(bench.events())
    model = new_model(bench, max_batch=1)
    assert bench.answerer.swap(model).use.pack == "tiny-edge@1.0.0"
    bench.send(1)
    bench.run()
    assert packs(bench) == ["tiny-edge@1.0.0"] * before + [NEW.pack] * (len(bench.events()) - before)
    assert len(bench.events()) > before
    assert len({event["id"] for event in bench.events()}) == len(bench.events())
    assert set(bench.session.batches[before:]) == {1}, "the new model's largest batch holds"
    assert bench.store.broken_equations() == []


def test_batches_are_as_large_as_was_measured_to_pay() -> None:
    """The pack allows more; on this machine windows in company take as long as alone."""
    bench = Bench()
    curve = (BatchPoint(1, 5.0, 5.0), BatchPoint(4, 20.0, 20.0))
    bench.session.facts = replace(
        SteadySession.facts, tuning=Tuning(SteadySession.facts.graph_digest, "1", "cpu", 1, 1, curve)
    )
    bench.answerer.swap(new_model(bench))
    for number in range(3):
        bench.send(number)
    bench.run()
    assert bench.session.batches == [1, 1, 1]


def test_a_swap_waits_for_the_pass_in_hand() -> None:
    """The old session may be closed at once: nothing uses it any more."""
    slow = SlowSession()
    bench = Bench(session=slow)
    bench.send(0)
    running = threading.Thread(target=bench.run)
    running.start()
    assert slow.runs.wait(DEADLINE_S)
    swapped = threading.Event()
    fresh = SteadySession()

    def swap() -> None:
        before = bench.answerer.swap(replace(new_model(bench), session=fresh))
        before.session.close()
        swapped.set()

    swapping = threading.Thread(target=swap)
    swapping.start()
    assert not swapped.is_set()
    slow.may_end.set()
    running.join(DEADLINE_S)
    swapping.join(DEADLINE_S)
    assert swapped.is_set()
    bench.send(1)
    bench.run()
    assert packs(bench) == ["tiny-edge@1.0.0", NEW.pack]
    assert all(event["output"] is not None for event in bench.events())


def test_what_the_engine_fails_on_alone_is_told_with_its_pack() -> None:
    """One bad window of a batch is one failure, of the pack that was asked; the others are answered."""
    bench = Bench()
    bench.session.poison = 9.0
    for second, value in enumerate((1.0, 9.0, 1.0)):
        bench.send(second, message(second, value))
    bench.run()
    assert [use.pack for use in bench.engine_failures] == ["tiny-edge@1.0.0"]
    assert sum(event["output"] is not None for event in bench.events()) == 2
    assert len(bench.latencies_ms) == 3
    assert bench.scored == {"tiny-edge@1.0.0": 2}


def test_an_answer_that_is_no_number_is_told_as_a_failure_of_its_pack() -> None:
    """What goes in is finite: the others of the batch are scored."""
    bench = Bench(session=HalfNumb())
    for second in range(4):
        bench.send(second)
    bench.run()
    assert [use.pack for use in bench.engine_failures] == ["tiny-edge@1.0.0"]
    assert bench.scored == {"tiny-edge@1.0.0": sum(bench.session.batches) - 1}
