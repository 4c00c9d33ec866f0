"""Owns what is decided before TensorRT builds anything: batch profiles, the key of an engine, whether a kept one fits.

Pure. Building is `tensorrt_build.py`, the files are `tensorrt_files.py`, running is `tensorrt_session.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from model_packs.digests import Digest, digest_of
from model_packs.engines.cuda_driver import Gpu
from model_packs.manifest import PackManifest
from model_packs.strict_json import Table, canonical, parse
from model_packs.tensors import DYNAMIC, TensorSpec

SCHEMA: Final = "tandem.tensorrt-engine/1"
OLDEST: Final = (10, 3)
"""The oldest TensorRT whose calls these are: JetPack 6 has it."""

_VERSION_PARTS: Final = 2
_MAX_HEAD_BYTES: Final = 4096
_DAMAGED: Final = "it is damaged"


@dataclass(frozen=True, slots=True)
class Profile:
    """A range of batches that TensorRT optimises for; one execution context each.

    Attributes:
        smallest: Fewest windows.
        best: Windows that kernels are chosen for.
        largest: Most windows.
    """

    smallest: int
    best: int
    largest: int

    @property
    def is_fixed(self) -> bool:
        """One size only: its runs are the same work each time, so they can be one CUDA graph."""
        return self.smallest == self.largest

    def shape(self, spec: TensorSpec, n_windows: int) -> tuple[int, ...]:
        """Give a tensor's sizes for a batch."""
        return (n_windows, *spec.shape[1:])


@dataclass(frozen=True, slots=True)
class EngineKey:
    """What a built engine is for: in any other place it is built anew.

    Attributes:
        graph_digest: Digest of the ONNX graph.
        tensorrt: Version of TensorRT.
        gpu: The GPU.
        precision: Number format of the weights.
        profiles: Batches that it was optimised for.
    """

    graph_digest: Digest
    tensorrt: str
    gpu: Gpu
    precision: str
    profiles: tuple[Profile, ...]

    @property
    def facts(self) -> dict[str, str]:
        """The key as a kept engine states it."""
        batches = " ".join(f"{part.smallest}-{part.best}-{part.largest}" for part in self.profiles)
        return {**self.timing_facts, "batches": batches}

    @property
    def timing_facts(self) -> dict[str, str]:
        """What measured times of kernels hold for: they help to build for other batches, too."""
        return {
            "graph": self.graph_digest,
            "TensorRT": self.tensorrt,
            "GPU": self.gpu.name,
            "compute capability": self.gpu.capability,
            "precision": self.precision,
        }

    @property
    def stem(self) -> str:
        """Name of the files of this graph on this machine: the next version of TensorRT replaces them."""
        return f"{self.graph_digest.removeprefix('sha256:')[:32]}-{self.precision}"


def profiles_for(manifest: PackManifest) -> tuple[Profile, ...]:
    """Choose the batches to optimise for: one window, which is what a quiet device has, and up to the largest.

    Args:
        manifest: The pack.

    Returns:
        One or two profiles that together take every batch that the pack allows; `profile_for` chooses between them.
    """
    largest = manifest.max_batch
    if any(spec.shape[0] != DYNAMIC for spec in manifest.inputs):
        return (Profile(largest, largest, largest),)
    alone = Profile(1, 1, 1)
    return (alone,) if largest == 1 else (alone, Profile(2, largest, largest))


def profile_for(profiles: tuple[Profile, ...], n_windows: int) -> int:
    """Choose the profile of a batch.

    Args:
        profiles: As from `profiles_for`.
        n_windows: Size of a batch that the pack allows.

    Returns:
        Its place.
    """
    return next(place for place, profile in enumerate(profiles) if n_windows <= profile.largest)


def reason_against(manifest: PackManifest, version: str) -> str | None:
    """Tell why TensorRT cannot run a pack, as far as that is known without a GPU.

    Args:
        manifest: The pack.
        version: Version of TensorRT.

    Returns:
        What is with TensorRT, for a person ("is older than 10.3"); None if nothing speaks against it.
    """
    parts = version.split(".")[:_VERSION_PARTS]
    if not all(part.isdecimal() for part in parts) or tuple(map(int, parts)) < OLDEST:
        return f"is older than {OLDEST[0]}.{OLDEST[1]}"
    for kind, specs in (("input", manifest.inputs), ("output", manifest.outputs)):
        for spec in specs:
            if kind == "input" and DYNAMIC in spec.shape[1:]:
                return f"must know every size of input {spec.name!r} beside the batch"
            if spec.datatype not in DATATYPES:
                return f"has no {spec.datatype}, which {kind} {spec.name!r} is"
    return None


DATATYPES: Final[Mapping[str, str]] = {
    "BOOL": "BOOL",
    "UINT8": "UINT8",
    "INT8": "INT8",
    "INT32": "INT32",
    "INT64": "INT64",
    "FP16": "HALF",
    "FP32": "FLOAT",
}
"""Open Inference Protocol datatype to the name of TensorRT's own."""


def write_kept(facts: Mapping[str, str], content: bytes) -> bytes:
    """Write bytes as they are kept on disk: one line of JSON that says what they are for, then the bytes.

    Args:
        facts: What they are for.
        content: What TensorRT serialised.

    Returns:
        The file's bytes.
    """
    return canonical({"schema": SCHEMA, "content": digest_of(content), **facts}) + b"\n" + content


def read_kept(data: bytes, facts: Mapping[str, str]) -> tuple[bytes | None, str]:
    """Take kept bytes out of their file, if they are for this place and whole.

    Args:
        data: The file's bytes.
        facts: What they are needed for.

    Returns:
        The bytes and an empty text; or None and why they are of no use here, for a person.
    """
    head, _, content = data.partition(b"\n")
    problems: list[str] = []
    try:
        table = Table(parse(head, _MAX_HEAD_BYTES), "", problems)
    except ValueError:
        return None, _DAMAGED
    wanted = {"schema": SCHEMA, **facts}
    found = {part: table.text(part) for part in (*wanted, "content")}
    if problems:
        return None, _DAMAGED
    for part, text in wanted.items():
        if found[part] != text:
            return None, f"it was made for {part} {found[part]}, this is {text}"
    if found["content"] != digest_of(content):
        return None, _DAMAGED
    return content, ""
