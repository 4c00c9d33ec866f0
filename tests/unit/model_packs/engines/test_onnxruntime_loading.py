"""The provider that carries out an inference is taken, others are passed over by name; optimised graphs are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from model_packs.digests import digest_of
from model_packs.engines.onnxruntime_loading import GraphLoader
from model_packs.engines.options import EngineOptions, PassedOver
from model_packs.engines.providers import CPU, PROVIDERS
from model_packs.engines.tuning import BatchPoint, Tuning, Tunings
from model_packs.errors import EngineError, MissingEngineError
from model_packs.pack import Pack
from tests.simulators.onnx_bytes import linear_graph
from tests.simulators.packs import LABELS, build_tiny, weights

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
LOADS = "libc.so.6"
"""Stands for a driver that is there."""


@dataclass
class Engine:
    """An inference session of the double."""

    asked: str
    provider: str
    fails: bool
    parts: tuple[str, ...]

    def get_providers(self) -> list[str]:
        """What the session says it runs on."""
        return [self.provider, CPU]

    def run(self, names: Sequence[str], inputs: Mapping[str, Any]) -> list[Any]:
        """Answer with zeros."""
        if self.fails:
            raise RuntimeError("CUDA failure 35: driver too old\nmore of it")
        return [np.zeros((len(next(iter(inputs.values()))), len(LABELS)), np.float32) for _ in names]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        """Who has a part of the graph."""
        return [SimpleNamespace(ep_name=name) for name in self.parts]


@dataclass
class Library:
    """A double of the module `onnxruntime`: what it was built with, and what goes wrong on which provider."""

    built_in: tuple[str, ...] = (TENSORRT, CUDA, CPU)
    refuses: frozenset[str] = frozenset()
    falls_back: frozenset[str] = frozenset()
    fails: frozenset[str] = frozenset()
    idles: frozenset[str] = frozenset()
    given: dict[str, dict[str, str]] = field(default_factory=dict)
    threads: list[int] = field(default_factory=list)
    __version__: str = "9.9"
    SessionOptions = onnxruntime.SessionOptions

    def get_available_providers(self) -> list[str]:
        """The compile-time list."""
        return list(self.built_in)

    def set_default_logger_severity(self, severity: int) -> None:
        """Nothing to silence."""

    def InferenceSession(  # noqa: N802 - the library's name
        self,
        graph: bytes,
        options: onnxruntime.SessionOptions,
        *,
        providers: list[tuple[str, dict[str, str]]],
        enable_fallback: int,
    ) -> Engine:
        """Make a session, or refuse."""
        assert graph == b"graph"
        assert enable_fallback == 0
        (asked, given), *_ = providers
        self.given[asked] = given
        self.threads.append(options.intra_op_num_threads)
        if asked in self.refuses:
            raise RuntimeError(f"{asked} does not take opset 99\nat node 7")
        provider = CPU if asked in self.falls_back else asked
        return Engine(asked, provider, asked in self.fails, (CPU,) if asked in self.idles else (CPU, asked))


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """A tiny pack."""
    return build_tiny(tmp_path_factory.mktemp("pack"))


def loader(pack: Pack, library: Library, options: EngineOptions, driver: str = LOADS) -> GraphLoader:
    """A loader on the double."""
    return GraphLoader(library, pack.manifest, pack.manifest.variants[0], options, driver=driver)


ALL = EngineOptions(providers=("tensorrt", "cuda", "cpu"))


def test_the_first_provider_that_carries_out_an_inference_is_taken(pack: Pack) -> None:
    """Nothing is tried after it."""
    library = Library()
    loaded = loader(pack, library, ALL).load(b"graph", lambda _engine: None)
    assert (loaded.provider, loaded.passed_over) == (TENSORRT, ())
    assert list(library.given) == [TENSORRT]


@pytest.mark.parametrize(
    ("library", "driver", "reason"),
    [
        (Library(built_in=(CPU,)), LOADS, "ONNX Runtime 9.9 is built without it here (pip install 'tandem-edge[gpu]')"),
        (Library(), "libnone.so.1", "no NVIDIA driver on this machine (libnone.so.1 cannot be loaded)"),
        (Library(refuses=frozenset({CUDA})), LOADS, f"{CUDA} does not take opset 99"),
        (Library(falls_back=frozenset({CUDA})), LOADS, "its libraries cannot be loaded"),
        (Library(fails=frozenset({CUDA})), LOADS, "an inference on it failed: CUDA failure 35: driver too old"),
        (Library(idles=frozenset({CUDA})), LOADS, "it takes no part of this graph"),
    ],
    ids=["not built", "no driver", "refuses the graph", "falls back", "fails", "idles"],
)
def test_a_provider_that_does_not_carry_it_out_is_passed_over_with_its_reason(
    pack: Pack, library: Library, driver: str, reason: str
) -> None:
    """And the next one is taken."""
    earlier = PassedOver("tensorrt", "no GPU")
    options = EngineOptions(passed_over=(earlier,))
    loaded = loader(pack, library, options, driver).load(b"graph", lambda _engine: None)
    assert loaded.provider == CPU
    first, own = loaded.passed_over
    assert first == earlier
    assert own.what == CUDA
    assert own.reason.startswith(reason)


def test_without_any_provider_every_reason_is_told(pack: Pack) -> None:
    """It counts as missing here: another engine may take over."""
    options = EngineOptions(providers=("tensorrt", "cuda"))
    with pytest.raises(MissingEngineError, match=r"TensorrtExecutionProvider: .*; CUDAExecutionProvider: ") as caught:
        loader(pack, Library(built_in=(CPU,)), options).load(b"graph", lambda _engine: None)
    assert "cpu" in caught.value.mend


def test_the_last_provider_that_refuses_the_graph_is_the_graphs_fault(pack: Pack) -> None:
    """There is nothing to fall back to."""
    with pytest.raises(EngineError, match=r"model\.onnx.*cannot load the graph: .*opset 99") as caught:
        loader(pack, Library(refuses=frozenset({CPU})), EngineOptions(providers=("cpu",))).load(
            b"graph", lambda _: None
        )
    assert not isinstance(caught.value, MissingEngineError)


def test_a_graph_that_contradicts_its_manifest_is_refused_on_any_provider(pack: Pack) -> None:
    """Another provider would not make it fit."""

    def check(_engine: Any) -> None:  # noqa: ANN401 - as the library's
        raise EngineError("input 'x' is not in the graph", "build again")

    library = Library()
    with pytest.raises(EngineError, match="'x' is not in the graph"):
        loader(pack, library, ALL).load(b"graph", check)
    assert list(library.given) == [TENSORRT]


def test_providers_are_given_what_keeps_their_answers_comparable(pack: Pack, tmp_path: Path) -> None:
    """CUDA without TF32; TensorRT with one profile for all batches, and engines kept where there is a folder."""
    library = Library(refuses=frozenset({TENSORRT}))
    options = replace(ALL, device=1, cache_dir=tmp_path)
    loader(pack, library, options).load(b"graph", lambda _engine: None)
    assert library.given[CUDA]["use_tf32"] == "0"
    assert library.given[CUDA]["device_id"] == library.given[TENSORRT]["device_id"] == "1"
    assert library.given[TENSORRT]["trt_profile_min_shapes"] == "window:1x5x2"
    assert library.given[TENSORRT]["trt_profile_max_shapes"] == "window:4x5x2"
    assert library.given[TENSORRT]["trt_engine_cache_path"] == str(tmp_path / "tensorrt-provider")
    assert "trt_engine_cache_path" not in PROVIDERS["tensorrt"].options(pack.manifest, ALL)


@pytest.mark.parametrize(("asked", "measured_on", "threads"), [(None, CPU, 3), (2, CPU, 2), (None, CUDA, 1)])
def test_threads_are_those_asked_for_else_measured_else_one(
    pack: Pack, asked: int | None, measured_on: str, threads: int
) -> None:
    """A measurement counts for its own provider."""
    graph = pack.manifest.variants[0].graph_digest
    tuning = Tuning(graph, "9.9", measured_on, 3, 4, (BatchPoint(1, 5.0, 5.0),))
    options = EngineOptions(threads=asked, providers=("cpu",), tunings=Tunings.of([tuning]))
    library = Library()
    loaded = loader(pack, library, options).load(b"graph", lambda _engine: None)
    assert (library.threads, loaded.threads) == ([threads], threads)
    assert loaded.tuning == (tuning if measured_on == CPU else None)


def real(pack: Pack, folder: Path) -> GraphLoader:
    """A loader on the real library that keeps every optimised graph."""
    options = EngineOptions(providers=("cpu",), cache_dir=folder)
    return GraphLoader(onnxruntime, pack.manifest, pack.manifest.variants[0], options, worth_keeping_bytes=0)


def answer(loaded: Any) -> Any:  # noqa: ANN401 - the library ships no types
    """What an engine answers to one window."""
    return loaded.engine.run(["logits"], {"window": np.ones((1, 5, 2), np.float32)})[0]


def test_an_optimised_graph_is_kept_and_used(pack: Pack, tmp_path: Path) -> None:
    """The second opening answers by the entry, as a foreign one in its place shows; no scratch files stay."""
    graph = pack.read("model.onnx")
    first = answer(real(pack, tmp_path).load(graph, lambda _engine: None))
    (kept,) = (tmp_path / "graphs").iterdir()
    np.testing.assert_array_equal(answer(real(pack, tmp_path).load(graph, lambda _engine: None)), first)
    foreign = linear_graph(weights(8), samples=5, channels=2)
    kept.write_bytes(b"tandem.graph/1 " + digest_of(foreign).encode() + b"\n" + foreign)
    np.testing.assert_allclose(
        answer(real(pack, tmp_path).load(graph, lambda _engine: None)), np.ones((1, 10)) @ weights(8), rtol=1e-4
    )


@pytest.mark.parametrize("damage", ["cut", "other bytes", "no graph"])
def test_a_damaged_entry_is_built_again(pack: Pack, tmp_path: Path, damage: str) -> None:
    """Cut short, overwritten, or whole in itself but no graph: the answer is the same."""
    graph = pack.read("model.onnx")
    first = answer(real(pack, tmp_path).load(graph, lambda _engine: None))
    (kept,) = (tmp_path / "graphs").iterdir()
    whole = kept.read_bytes()
    rubbish = b"rubbish"
    kept.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "other bytes": whole[:-4] + b"\0\0\0\0",
            "no graph": b"tandem.graph/1 " + digest_of(rubbish).encode() + b"\n" + rubbish,
        }[damage]
    )
    np.testing.assert_array_equal(answer(real(pack, tmp_path).load(graph, lambda _engine: None)), first)
    assert kept.read_bytes() == whole


def test_where_nothing_can_be_written_nothing_is_kept(pack: Pack, tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "graphs").write_text("")
    assert real(pack, tmp_path).load(pack.read("model.onnx"), lambda _engine: None).provider == CPU
