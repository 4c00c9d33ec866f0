"""The models of the benches are what they say."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from model_packs.pack import Pack
from model_packs.store import PackStore
from tests.bench.serving.models import CNN, INPUT, OUTPUT, TINY, WINDOW, BenchModel, build_pack, run
from tests.bench.serving.raw import pacer
from tests.bench.serving.wire import Wire, question


@pytest.mark.parametrize(("bench", "parameters"), [(TINY, 33_608), (WINDOW, 33_608), (CNN, 4_630_392)])
def test_a_graph_has_the_declared_form(bench: BenchModel, parameters: int) -> None:
    """Names, shapes, and as many parameters as the layers say."""
    session = onnxruntime.InferenceSession(bench.graph, providers=["CPUExecutionProvider"])
    (given,), (answered,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape) == (INPUT, ["batch", *bench.shape])
    assert (answered.name, answered.shape) == (OUTPUT, ["batch", bench.classes])
    assert abs(len(bench.graph) / 4 / parameters - 1) < 0.02


def test_rows_are_answered_alone_as_in_a_batch(tmp_path: Path) -> None:
    """A server that forms batches must give the same answer."""
    graph = TINY.write(tmp_path)
    np.testing.assert_allclose(run(graph, TINY.input(3))[0], run(graph, TINY.input())[0], rtol=1e-5)


def test_a_pack_of_it_is_a_pack(tmp_path: Path) -> None:
    """It is built, and read back by the store."""
    store = PackStore(tmp_path / "store")
    store.open()
    pack = store.load(store.import_layout(build_pack(WINDOW, "edge", tmp_path / "made", None)), None)
    assert isinstance(pack, Pack)
    assert pack.manifest.window is not None


@pytest.mark.parametrize("wire", list(Wire))
def test_a_question_says_the_input(wire: Wire) -> None:
    """As gRPC takes it raw, as JSON takes numbers or base64."""
    asked = question(wire, TINY, "/predict")
    raw = TINY.input().tobytes()
    assert (raw in asked.body) is (wire is Wire.GRPC)
    assert dict(asked.headers)["content-type"] == ("application/grpc" if wire is Wire.GRPC else "application/json")


def test_runs_at_a_pace_are_timed_one_by_one(tmp_path: Path) -> None:
    """As many as asked for."""
    times_s = pacer(WINDOW.write(tmp_path), WINDOW, per_s=1_000.0)(20)
    assert times_s.shape == (20,)
    assert (times_s > 0.0).all()
