"""TensorRT's session around its runs: building once, keeping, falling back by name, giving everything back.

That it runs like every session is tests/contract/test_session_contract.py. The GPU is `fake_cuda`, TensorRT is
`fake_tensorrt`; tests/contract/test_tensorrt_names.py holds both to the real names.
"""

import ctypes.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_packs.engines.cuda_driver import CudaDriver
from model_packs.engines.options import EngineOptions, PassedOver
from model_packs.engines.tensorrt_session import FOLDER, TensorRtSession
from model_packs.errors import EngineError, MissingEngineError
from model_packs.pack import Pack
from model_packs.pack_spec import VariantEntry
from tests.simulators.fake_cuda import FakeCuda
from tests.simulators.fake_tensorrt import fake_tensorrt
from tests.simulators.packs import CHANNELS, SAMPLES, build_tiny, weights

WINDOWS = np.arange(4 * SAMPLES * CHANNELS, dtype=np.float32).reshape(4, SAMPLES, CHANNELS)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """A tiny pack."""
    return build_tiny(tmp_path_factory.mktemp("pack"))


def session_on(pack: Pack, cuda: FakeCuda, trt: Any, cache: Path | None = None) -> TensorRtSession:  # noqa: ANN401 - a module
    """An unopened session on a GPU."""
    variant = pack.manifest.variants[0]
    return TensorRtSession(
        pack.manifest,
        variant,
        pack.path(variant.file),
        EngineOptions(cache_dir=cache, passed_over=(PassedOver("other", "not here"),)),
        load_driver=lambda: CudaDriver(cuda),
        load_tensorrt=lambda: trt,
    )


def check_answers(session: TensorRtSession) -> None:
    """The answers are what the weights say."""
    for n_windows in (1, 3, 1, 4, 1, 2):
        logits = session.run({"window": WINDOWS[:n_windows]})["logits"]
        expected = WINDOWS[:n_windows].reshape(n_windows, -1) @ weights()
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_an_engine_is_built_once_and_kept(pack: Pack, tmp_path: Path) -> None:
    """The second opening loads what the first one built; the files are the owner's alone."""
    trt = fake_tensorrt(cuda := FakeCuda())
    for _ in range(2):
        session = session_on(pack, cuda, trt, tmp_path)
        session.open()
        check_answers(session)
        session.close()
    assert trt.Builder.built == 1
    files = sorted((tmp_path / FOLDER).iterdir())
    assert [path.suffix for path in files] == [".engine", ".timing"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


@pytest.mark.parametrize(
    ("name", "version"), [("NVIDIA L4", "11.4.0.106"), ("Orin", "10.3.0")], ids=["another GPU", "another version"]
)
def test_a_foreign_engine_is_built_again(pack: Pack, tmp_path: Path, name: str, version: str) -> None:
    """A disk that was moved, or an upgrade: the kept engine is replaced, not loaded."""
    trt = fake_tensorrt(cuda := FakeCuda())
    session = session_on(pack, cuda, trt, tmp_path)
    session.open()
    session.close()
    trt = fake_tensorrt(cuda := FakeCuda(name), version)
    for _ in range(2):
        session = session_on(pack, cuda, trt, tmp_path)
        session.open()
        check_answers(session)
        assert (session.facts.engine_version, session.facts.provider) == (version, f"{name} (8.7)")
        session.close()
    assert trt.Builder.built == 1
    assert len(list((tmp_path / FOLDER).iterdir())) == 2


@pytest.mark.parametrize("content", [b"", b"rubbish", None], ids=["empty", "rubbish", "bytes that TensorRT refuses"])
def test_a_damaged_engine_is_built_again(pack: Pack, tmp_path: Path, content: bytes | None) -> None:
    """Damage on the disk costs a build, never the session."""
    trt = fake_tensorrt(cuda := FakeCuda())
    session = session_on(pack, cuda, trt, tmp_path)
    session.open()
    session.close()
    (kept,) = (tmp_path / FOLDER).glob("*.engine")
    if content is None:
        trt.Runtime.deserialize_cuda_engine = refusing_once(trt.Runtime.deserialize_cuda_engine)
    else:
        kept.write_bytes(content)
    session = session_on(pack, cuda, trt, tmp_path)
    session.open()
    check_answers(session)
    session.close()
    assert trt.Builder.built == 2


def refusing_once(load: Callable[..., Any]) -> Callable[..., Any]:
    """Load, but not the first time."""
    asked = []

    def refuse(runtime: Any, plan: bytes) -> Any:  # noqa: ANN401 - TensorRT's types
        asked.append(plan)
        return load(runtime, plan) if len(asked) > 1 else None

    return refuse


def test_without_a_folder_nothing_is_kept_and_a_full_disk_is_no_error(pack: Pack, tmp_path: Path) -> None:
    """Keeping is for speed only."""
    (tmp_path / FOLDER).write_text("a file where the folder should be")
    for cache in (None, tmp_path):
        trt = fake_tensorrt(cuda := FakeCuda())
        session = session_on(pack, cuda, trt, cache)
        session.open()
        check_answers(session)
        session.close()
        assert trt.Builder.built == 1


def test_one_window_becomes_a_cuda_graph(pack: Pack) -> None:
    """After the first run a single window is one launch; a batch, whose context changes its size, is none."""
    trt = fake_tensorrt(cuda := FakeCuda())
    session = session_on(pack, cuda, trt)
    session.open()
    session.warm_up()
    assert cuda.launches == 0
    session.run({"window": WINDOWS[:1]})
    assert cuda.launches == 1
    session.run({"window": WINDOWS[:4]})
    assert cuda.launches == 1
    check_answers(session)
    session.close()


@pytest.mark.parametrize("function", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
def test_where_no_graph_can_be_captured_batches_run_as_before(pack: Pack, function: str) -> None:
    """A driver that cannot capture costs speed, not answers."""
    trt = fake_tensorrt(cuda := FakeCuda(refuses=[function]))
    session = session_on(pack, cuda, trt)
    session.open()
    if function == "cuStreamEndCapture":
        session.run({"window": WINDOWS[:1]})
        cuda.captured.clear()  # as the driver does with a capture that ended badly
    check_answers(session)
    session.close()
    assert cuda.launches == 0


def test_everything_is_given_back(pack: Pack) -> None:
    """Memory of both sides, streams, graphs and the context; also when opening failed half way."""
    trt = fake_tensorrt(cuda := FakeCuda())
    session = session_on(pack, cuda, trt)
    for _ in range(2):
        session.open()
        session.warm_up()
        session.close()
        session.close()
        assert (cuda.live, cuda.queues, cuda.graphs, cuda.contexts) == ({}, {}, {}, 0)
    for function in ("cuMemAllocHost_v2", "cuMemAlloc_v2"):
        cuda.refuses = {function}
        with pytest.raises(EngineError, match=f"{function} failed"):
            session.open()
        assert (cuda.live, cuda.queues, cuda.contexts) == ({}, {}, 0)


def test_a_gpu_that_fails_is_an_engine_error(pack: Pack) -> None:
    """The error names the pack, the call and what the driver says."""
    trt = fake_tensorrt(cuda := FakeCuda())
    session = session_on(pack, cuda, trt)
    session.open()
    cuda.refuses = {"cuStreamSynchronize"}
    with pytest.raises(EngineError, match=r"tiny-edge@1.0.0 .*cuStreamSynchronize failed: CUDA_ERROR_ILLEGAL_ADDRESS"):
        session.run({"window": WINDOWS[:1]})
    cuda.refuses.clear()
    session.close()


def missing(message: str) -> Callable[[], Any]:
    """A loader that finds nothing."""

    def load() -> Any:  # noqa: ANN401 - a module
        raise MissingEngineError(message, "install it")

    return load


@pytest.mark.parametrize(
    ("cuda", "version", "refuses", "reason"),
    [
        (FakeCuda(devices=0), "11.4.0", "", "no GPU that can be used: cuInit failed: CUDA_ERROR_NO_DEVICE"),
        (FakeCuda(), "10.2.0", "", "TensorRT 10.2.0 is older than 10.3"),
        (FakeCuda(), "11.4.0", "no kernel\nfor Loop", "TensorRT 11.4.0 cannot build the engine: no kernel for Loop"),
        (FakeCuda(refuses=["cuMemAlloc_v2"]), "11.4.0", "", "cuMemAlloc_v2 failed: CUDA_ERROR_ILLEGAL_ADDRESS"),
    ],
)
def test_what_keeps_tensorrt_from_running_is_named(
    pack: Pack, cuda: FakeCuda, version: str, refuses: str, reason: str
) -> None:
    """Each is an engine that is missing here, after which another variant is tried."""
    session = session_on(pack, cuda, fake_tensorrt(cuda, version, refuses))
    with pytest.raises(MissingEngineError) as caught:
        session.open()
    assert str(pack.ref) in caught.value.reason
    assert caught.value.reason.endswith(reason)
    assert caught.value.mend
    assert cuda.contexts == 0


def test_without_a_driver_tensorrt_is_not_even_imported(pack: Pack) -> None:
    """Its calls can end the process where there is no GPU; so the driver is asked first."""
    variant = pack.manifest.variants[0]
    imported = []
    session = TensorRtSession(
        pack.manifest,
        variant,
        pack.path(variant.file),
        EngineOptions(),
        load_driver=missing("no NVIDIA driver"),
        load_tensorrt=lambda: imported.append(1),
    )
    with pytest.raises(MissingEngineError, match="no NVIDIA driver"):
        session.open()
    assert not imported


@pytest.mark.skipif(ctypes.util.find_library("cuda") is not None, reason="this machine has an NVIDIA driver")
def test_on_a_machine_without_a_driver_the_reason_is_the_driver(pack: Pack) -> None:
    """What a device without a GPU says when a pack prefers TensorRT."""
    variant = pack.manifest.variants[0]
    session = TensorRtSession(pack.manifest, variant, pack.path(variant.file), EngineOptions())
    with pytest.raises(MissingEngineError, match=r"tiny-edge@1.0.0 .*no NVIDIA driver: libcuda.so.1 cannot be loaded"):
        session.open()


def test_a_graph_that_tensorrt_cannot_read_is_passed_over(tmp_path: Path) -> None:
    """Another engine may know what this one does not."""
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "strange.onnx").write_bytes(b"\x08\x08\x3a\x00")
    pack = build_tiny(tmp_path, variants=(VariantEntry(id="fp32", file="strange.onnx"),))
    session = session_on(pack, cuda := FakeCuda(), fake_tensorrt(cuda))
    with pytest.raises(MissingEngineError, match=r"strange.onnx\): TensorRT 11.4.0.106 cannot read the graph: "):
        session.open()


def test_the_facts_carry_what_was_passed_over_before(pack: Pack) -> None:
    """Somebody who wonders why it is TensorRT finds what was preferred."""
    session = session_on(pack, cuda := FakeCuda(), fake_tensorrt(cuda))
    session.open()
    assert session.facts.engine == "tensorrt"
    assert session.facts.passed_over == (PassedOver("other", "not here"),)
    session.close()
