"""ONNX Runtime on a real GPU: the provider that was asked for runs the graph, and answers as was recorded."""

from pathlib import Path

import onnxruntime
import pytest

from model_packs.engines.opening import open_session
from model_packs.engines.options import EngineOptions
from model_packs.verification import golden_on
from tests.simulators.packs import build_tiny

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(
    ("name", "provider"), [("cuda", "CUDAExecutionProvider"), ("tensorrt", "TensorrtExecutionProvider")]
)
def test_a_gpus_provider_runs_a_pack_within_its_tolerance(tmp_path: Path, name: str, provider: str) -> None:
    """Only that provider is allowed: nothing can fall back in silence."""
    if provider not in onnxruntime.get_available_providers():
        pytest.skip(f"this ONNX Runtime is built without {provider}: pip install 'tandem-edge[gpu]'")
    pack = build_tiny(tmp_path)
    session = open_session(pack, EngineOptions(providers=(name,), cache_dir=tmp_path / "engines", run_limit_s=60.0))
    golden, facts = golden_on(session, pack), session.facts
    session.close()
    assert facts.provider == provider
    assert golden.is_ok, golden.detail
