"""Owns what the protocol shows of one model: its name there, its version, the tensors that it takes and gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from model_packs.manifest import PackManifest
from model_packs.tensors import DYNAMIC, TensorSpec

_PLATFORMS: Final = {"onnxruntime": "onnxruntime_onnx", "tensorrt": "tensorrt_plan"}
"""Engines as Triton names their platforms; another engine is its own."""


@dataclass(frozen=True, slots=True)
class OipModel:
    """One version of a model.

    Attributes:
        name: What clients call it: a binding's name on a device, a pack's on the hub.
        version: The pack's version; it starts with a digit, as clients expect.
        platform: What runs it.
        inputs: Declared inputs; the first axis is the batch.
        outputs: Declared outputs, in the order in which they are answered.
        max_batch: Most windows in one request.
        properties: Facts for people and programs: the pack, its digest, its task.
    """

    name: str
    version: str
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch: int
    properties: Mapping[str, str] = field(hash=False)

    @classmethod
    def of_pack(cls, manifest: PackManifest, *, digest: str, name: str | None = None) -> "OipModel":
        """Show a pack.

        Args:
            manifest: The pack.
            digest: The pack digest.
            name: What clients call it; None: the pack's own name.

        Returns:
            The model.
        """
        engine = manifest.variants[0].engine
        return cls(
            name=manifest.ref.name if name is None else name,
            version=manifest.ref.version,
            platform=_PLATFORMS.get(engine, engine),
            inputs=manifest.inputs,
            outputs=manifest.outputs,
            max_batch=manifest.max_batch,
            properties={"pack": str(manifest.ref), "digest": digest, "task": manifest.task},
        )

    @property
    def has_open_batch(self) -> bool:
        """A client may choose how many windows it sends: the first axis of every tensor is open."""
        return all(spec.shape[0] == DYNAMIC for spec in (*self.inputs, *self.outputs))
