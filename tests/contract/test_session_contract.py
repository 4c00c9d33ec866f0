"""One suite for every implementation of the `Session` port that can run on this machine.

A new engine joins by one entry in `ENGINES`: how to make an unopened session for a pack's first variant. One that asks
another machine has no graph of its own: it is held to what every session promises, not to what is said of graphs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cloud_hub.adapters.remote.oip_session import OipSession
from cloud_hub.adapters.remote.remote_variant import RemoteVariant
from cloud_hub.model_servers import ModelServerConfig
from model_packs.engines.cuda_driver import CudaDriver
from model_packs.engines.onnxruntime_session import OnnxRuntimeSession
from model_packs.engines.options import EngineOptions
from model_packs.engines.session import Session
from model_packs.engines.tensorrt_session import TensorRtSession
from model_packs.errors import EngineError, TensorError
from model_packs.manifest import PackManifest
from model_packs.pack import Pack
from model_packs.pack_spec import VariantEntry
from model_packs.tensors import TensorSpec
from tests.simulators.fake_cuda import FakeCuda
from tests.simulators.fake_tensorrt import fake_tensorrt
from tests.simulators.oip_model_server import OipModelServer
from tests.simulators.onnx_bytes import linear_graph
from tests.simulators.packs import CHANNELS, LABELS, SAMPLES, build_tiny, weights
from tests.simulators.remote_packs import oip_pack

MakeSession = Callable[[PackManifest, Path], Session]


def on_fake_gpu(manifest: PackManifest, graph: Path) -> Session:
    """TensorRT's session, on a GPU in ordinary memory."""
    cuda = FakeCuda()
    return TensorRtSession(
        manifest,
        manifest.variants[0],
        graph,
        EngineOptions(),
        load_driver=lambda: CudaDriver(cuda),
        load_tensorrt=lambda: fake_tensorrt(cuda),
    )


ENGINES: dict[str, MakeSession] = {
    "onnxruntime": lambda manifest, graph: OnnxRuntimeSession(manifest, manifest.variants[0], graph, EngineOptions()),
    "onnxruntime under watch": lambda manifest, graph: OnnxRuntimeSession(
        manifest, manifest.variants[0], graph, EngineOptions(run_limit_s=60.0)
    ),
    "tensorrt": on_fake_gpu,
}


@pytest.fixture(params=ENGINES)
def make(request: pytest.FixtureRequest) -> MakeSession:
    """Makes an unopened session of one engine."""
    return ENGINES[request.param]


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """A tiny pack."""
    return build_tiny(tmp_path_factory.mktemp("pack"))


@dataclass(frozen=True)
class Subject:
    """An engine with a pack that it runs."""

    pack: Pack
    make: Callable[[], Session]


@pytest.fixture(params=[*ENGINES, "oip"])
def subject(request: pytest.FixtureRequest, pack: Pack, tmp_path: Path) -> Iterator[Subject]:
    """Each engine, those on another machine, too."""
    if request.param in ENGINES:
        make = ENGINES[request.param]
        yield Subject(pack, lambda: make(pack.manifest, pack.path("model.onnx")))
        return
    remote = oip_pack(tmp_path)
    manifest = remote.manifest
    with OipModelServer(weights(), manifest.inputs, manifest.outputs).running() as port:
        servers = {"there": ModelServerConfig(engine="oip", address=f"grpc://127.0.0.1:{port}", deadline_s=30.0)}
        variant = manifest.variants[0]
        file = remote.path(variant.file)
        options = EngineOptions()
        variant_there = RemoteVariant(manifest, variant, file, options, servers, tmp_path)
        yield Subject(remote, lambda: OipSession(variant_there))


@pytest.fixture
def session(subject: Subject) -> Iterator[Session]:
    """An open session on the tiny pack."""
    session = subject.make()
    session.open()
    yield session
    session.close()


def windows(n_windows: int, seed: int = 3) -> NDArray[np.float32]:
    """Random windows [n_windows, samples, channels]."""
    return np.random.default_rng(seed).normal(size=(n_windows, SAMPLES, CHANNELS)).astype(np.float32)


@pytest.mark.parametrize("n_windows", [1, 3, 4])
def test_a_batch_is_answered_row_by_row(session: Session, n_windows: int) -> None:
    """Every row's logits are what the weights say, whatever the size of the batch."""
    batch = windows(n_windows)
    outputs = session.run({"window": batch})
    assert list(outputs) == ["logits"]
    assert outputs["logits"].dtype == np.float32
    np.testing.assert_allclose(outputs["logits"], batch.reshape(n_windows, -1) @ weights(), rtol=1e-4, atol=1e-5)


def test_outputs_belong_to_the_caller(session: Session) -> None:
    """A later run does not overwrite an earlier answer, and inputs are not changed."""
    batch = windows(2)
    before = batch.copy()
    first = session.run({"window": batch})["logits"]
    kept = first.copy()
    session.run({"window": windows(2, seed=4)})
    assert (first == kept).all()
    assert (batch == before).all()


def test_an_array_in_another_layout_is_taken(session: Session) -> None:
    """A view with strides gives the same answer as its copy."""
    view = windows(4)[::2]
    np.testing.assert_array_equal(
        session.run({"window": view})["logits"], session.run({"window": view.copy()})["logits"]
    )


def test_values_that_are_not_finite_pass_through(session: Session) -> None:
    """NaN in one row is that row's answer alone; it is no engine error."""
    batch = windows(2)
    batch[0, 0, 0] = np.nan
    logits = session.run({"window": batch})["logits"]
    assert np.isnan(logits[0]).all()
    assert np.isfinite(logits[1]).all()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "'window' is missing"),
        ({"window": windows(1), "mask": windows(1)}, "unknown input mask"),
        ({"window": windows(1)[0]}, r"must be FP32 \[-1, 5, 2\], not FP32 \[5, 2\]"),
        ({"window": windows(1).transpose(0, 2, 1)}, r"not FP32 \[1, 2, 5\]"),
        ({"window": windows(1).astype(np.float64)}, r"must be FP32 \[-1, 5, 2\], not FP64 \[1, 5, 2\]"),
        ({"window": windows(5)}, "1 to 4 windows"),
        ({"window": windows(0)}, "1 to 4 windows"),
    ],
)
def test_inputs_that_are_not_declared_are_the_callers_mistake(
    session: Session, inputs: dict[str, NDArray[np.float32]], message: str
) -> None:
    """Missing, unknown, misshaped, mistyped, too many and no windows: refused before the engine sees them."""
    with pytest.raises(TensorError, match=message):
        session.run(inputs)
    session.run({"window": windows(1)})
    with pytest.raises(TensorError, match=message):  # what fitted before makes nothing else fit
        session.run(inputs)


def test_warming_up_changes_no_answer(session: Session) -> None:
    """Before and after it the same input has the same output."""
    before = session.run({"window": windows(1)})["logits"]
    session.warm_up()
    np.testing.assert_array_equal(session.run({"window": windows(1)})["logits"], before)


def test_the_facts_name_engine_provider_and_graph(session: Session, subject: Subject) -> None:
    """A certificate can be compared with them."""
    facts = session.facts
    assert facts.graph_digest == subject.pack.manifest.variants[0].graph_digest
    assert (facts.variant, facts.precision, facts.threads) == ("fp32", "fp32", 1)
    assert all((facts.engine, facts.engine_version, facts.provider))


def test_a_session_opens_and_closes_any_number_of_times(subject: Subject) -> None:
    """Opening or closing twice does nothing; a closed session can be opened again."""
    session = subject.make()
    session.close()
    for _ in range(2):
        session.open()
        session.open()
        assert session.run({"window": windows(1)})["logits"].shape == (1, len(LABELS))
        session.close()
        session.close()


def test_a_closed_session_says_so(subject: Subject) -> None:
    """Neither running nor asking for facts works before open."""
    session = subject.make()
    with pytest.raises(EngineError, match="is not open"):
        session.run({"window": windows(1)})
    with pytest.raises(EngineError, match="is not open"):
        _ = session.facts


def refused(make: MakeSession, manifest: PackManifest, graph: Path, message: str) -> None:
    """Opening must fail, name the pack, and leave the session closed."""
    session = make(manifest, graph)
    with pytest.raises(EngineError, match=message) as caught:
        session.open()
    assert str(manifest.ref) in caught.value.reason
    assert caught.value.mend
    with pytest.raises(EngineError, match="is not open"):
        _ = session.facts


def test_another_graph_than_the_manifests_is_refused(make: MakeSession, pack: Pack, tmp_path: Path) -> None:
    """The digest is taken of the bytes that would be loaded."""
    graph = tmp_path / "other.onnx"
    graph.write_bytes(linear_graph(weights(8), samples=SAMPLES, channels=CHANNELS))
    refused(make, pack.manifest, graph, "digest is not the manifest's")
    refused(make, pack.manifest, tmp_path / "nowhere.onnx", "cannot be read")


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ([TensorSpec("x", "FP32", (-1, 5, 2))], None, "input 'x' is not in the graph; .*'window' is not declared"),
        ([TensorSpec("window", "FP32", (-1, 6, 2))], None, "input 'window' has the shape"),
        ([TensorSpec("window", "FP16", (-1, 5, 2))], None, "input 'window' is FP32 in the graph, FP16"),
        (None, [TensorSpec("y", "FP32", (-1, 3))], "output 'y' is not in the graph"),
        (None, [TensorSpec("logits", "FP32", (-1, 4))], "output 'logits' has the shape"),
    ],
)
def test_a_graph_that_contradicts_its_manifest_is_refused(
    make: MakeSession, pack: Pack, inputs: list[TensorSpec] | None, outputs: list[TensorSpec] | None, message: str
) -> None:
    """Names, shapes and datatypes are compared when the session opens, not when the first window comes."""
    manifest = replace(
        pack.manifest,
        inputs=tuple(inputs or pack.manifest.inputs),
        outputs=tuple(outputs or pack.manifest.outputs),
    )
    refused(make, manifest, pack.path("model.onnx"), message)


def test_a_graph_with_weights_outside_the_pack_is_refused(
    make: MakeSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when the named file is there: a pack is whole in itself."""
    (tmp_path / "secret.bin").write_bytes(weights().tobytes())
    monkeypatch.chdir(tmp_path)
    sources = tmp_path / "sources"
    sources.mkdir()
    graph = linear_graph(weights(), samples=SAMPLES, channels=CHANNELS, external_file="secret.bin")
    (sources / "external.onnx").write_bytes(graph)
    pack = build_tiny(tmp_path, variants=(VariantEntry(id="fp32", file="external.onnx"),))
    refused(make, pack.manifest, pack.path("external.onnx"), "keeps weights in other files")


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\x08\x08\x3a\x00"])
def test_bytes_that_are_no_graph_are_refused(make: MakeSession, tmp_path: Path, content: bytes) -> None:
    """A pack whose digests hold may still hold rubbish; it ends in an error, not in a crash."""
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "rubbish.onnx").write_bytes(content)
    pack = build_tiny(tmp_path, variants=(VariantEntry(id="fp32", file="rubbish.onnx"),))
    refused(make, pack.manifest, pack.path("rubbish.onnx"), r"rubbish\.onnx")
