"""TensorRT's session on a real GPU: what tests/contract promises with a GPU in ordinary memory, on one of silicon."""

from pathlib import Path

import numpy as np
import pytest

from model_packs.engines.opening import open_session
from model_packs.engines.options import EngineOptions
from model_packs.engines.tensorrt_session import FOLDER
from model_packs.pack_spec import VariantEntry
from model_packs.verification import check_golden
from tests.simulators.packs import CHANNELS, SAMPLES, build_tiny, weights

pytestmark = pytest.mark.gpu

VARIANTS = (
    VariantEntry(id="native", engine="tensorrt", file="model.onnx"),
    VariantEntry(id="cpu", file="model.onnx", rank=1),
)


def test_a_pack_is_built_once_and_answers_as_its_weights_say(tmp_path: Path) -> None:
    """One window, by a CUDA graph from the second run on, and batches; the second opening takes the kept engine."""
    pack = build_tiny(tmp_path, variants=VARIANTS)
    generator = np.random.default_rng(5)
    kept: list[tuple[int, int]] = []
    for _ in range(2):
        session = open_session(pack, EngineOptions(cache_dir=tmp_path / "cache"))
        try:
            assert session.facts.engine == "tensorrt", session.facts.passed_over
            for n_windows in (1, 1, 4, 2, 1, 3):
                batch = generator.normal(size=(n_windows, SAMPLES, CHANNELS)).astype(np.float32)
                logits = session.run({"window": batch})["logits"]
                np.testing.assert_allclose(logits, batch.reshape(n_windows, -1) @ weights(), rtol=1e-4, atol=1e-4)
        finally:
            session.close()
        (engine,) = (tmp_path / "cache" / FOLDER).glob("*.engine")
        kept.append((engine.stat().st_ino, engine.stat().st_mtime_ns))
    assert kept[0] == kept[1]


def test_golden_examples_hold_on_the_gpu(tmp_path: Path) -> None:
    """TensorFloat-32 is off: fp32 means the same as on the processor."""
    found = check_golden(build_tiny(tmp_path, variants=VARIANTS))
    assert found.is_ok, found.detail
    assert "tensorrt" in found.detail
