"""Owns the one pack manifest of the agent's unit tests: windows of 5 samples of 2 channels, three labels."""

from model_packs.digests import digest_of
from model_packs.manifest import PackFile, PackManifest, PackRef, Variant, WindowSpec
from model_packs.tensors import TensorSpec

GRAPH = digest_of(b"graph")

MANIFEST = PackManifest(
    ref=PackRef("tiny-edge", "1.0.0"),
    family="tiny",
    role="edge",
    task="classification",
    labels=("idle", "moving", "broken"),
    inputs=(TensorSpec("window", "FP32", (-1, 5, 2)),),
    outputs=(TensorSpec("logits", "FP32", (-1, 3)),),
    window=WindowSpec(5, 2, 5.0, ("x", "y")),
    max_batch=4,
    escalates_to=PackRef("tiny-hub", "1.0.0"),
    temperature=1.0,
    agreement_loss="zero_one",
    certificate_path=None,
    files=(PackFile("model.onnx", GRAPH, 5, "weights"),),
    variants=(Variant("fp32", "onnxruntime", "fp32", "model.onnx", GRAPH, 0),),
    golden=None,
    license="Apache-2.0",
    provenance={},
)
