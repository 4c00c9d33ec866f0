"""Owns the two models that every server of a bench answers with: their graphs, one input, the answer that is right.

    tiny   an MLP of 64-256-64-8 (35,000 parameters): the serving layer is the whole cost
    cnn    EfficientNet-Lite0's layers (Tan and Le, arXiv:1905.11946; the Lite variant has no squeeze-and-excitation
           and ReLU6) with folded batch norms, 4.65 million parameters, one 224 x 224 picture

Weights are drawn from a seed: a server's cost does not depend on what a model has learnt. Both are made into signed
packs by the house's own builder, and every peer loads the same ONNX file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_packs.build import build_spec
from model_packs.golden import write_npy
from model_packs.pack_spec import GoldenEntry, OutputEntry, PackSpec, TensorEntry, VariantEntry, WindowEntry
from model_packs.signing import SiteKey
from tests.simulators.onnx_bytes import model, nested, node, text, value, weights_tensor

INPUT: Final = "x"
OUTPUT: Final = "logits"
VERSION: Final = "1.0.0"
_SEED: Final = 20_261_122
_GRAPH_FILE: Final = "model.onnx"

_MLP_SIZES: Final = (64, 256, 64, 8)
_PICTURE: Final = (3, 224, 224)
_STEM, _HEAD, _CLASSES = 32, 1280, 1000


class _Stage(NamedTuple):
    """Blocks of one kind: how many, kernel, first stride, expansion, channels out (table 1 of the paper)."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES: Final = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


@dataclass(frozen=True, slots=True)
class BenchModel:
    """One model.

    Attributes:
        name: Name of its pack and of its model at the peers.
        shape: Of one input, without the batch.
        classes: Length of one answer.
        max_batch: Most inputs in one run, for those who form batches.
        as_window: Its input is one second of samples [batch, samples, channels], for bindings of samples.
    """

    name: str
    shape: tuple[int, ...]
    classes: int
    max_batch: int
    as_window: bool = False

    @property
    def graph(self) -> bytes:
        """The ONNX file."""
        return _cnn_graph() if self.shape == _PICTURE else _mlp_graph(self.shape)

    def input(self, batch: int = 1) -> NDArray[np.float32]:
        """Inputs drawn from a seed: float32 [batch, *shape]; the first rows are the same for every batch."""
        return np.random.default_rng(_SEED).normal(size=(batch, *self.shape)).astype(np.float32)

    def write(self, folder: Path) -> Path:
        """Write the ONNX file into a folder; return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.onnx"
        path.write_bytes(self.graph)
        return path


TINY: Final = BenchModel("bench-tiny", (_MLP_SIZES[0],), _MLP_SIZES[-1], max_batch=64)
WINDOW: Final = BenchModel("bench-window", (16, 4), _MLP_SIZES[-1], max_batch=256, as_window=True)
CNN: Final = BenchModel("bench-cnn", _PICTURE, _CLASSES, max_batch=8)


def run(graph: Path, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """What ONNX Runtime answers: float32 [batch, classes]."""
    import onnxruntime  # noqa: PLC0415 - a process that has loaded it would share its pages with those being weighed

    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    answer: NDArray[np.float32] = session.run([OUTPUT], {INPUT: values})[0]
    return answer


def build_pack(
    bench: BenchModel, role: str, folder: Path, key: SiteKey | None, *, escalates_to: str | None = None
) -> Path:
    """Build a pack of a model with golden examples, sign it if there is a key, and return its OCI layout.

    Args:
        bench: The model.
        role: "edge" or "hub".
        folder: Made; sources and layout go there.
        key: Who signs.
        escalates_to: The hub pack that answers what an edge pack is not sure of.
    """
    sources = folder / "sources"
    graph = bench.write(sources)
    examples = bench.input(2)
    (sources / "golden").mkdir(exist_ok=True)
    (sources / "golden" / "x.npy").write_bytes(write_npy(examples))
    (sources / "golden" / "logits.npy").write_bytes(write_npy(run(graph, examples)))
    (sources / "CARD.md").write_text("Random weights, for benches.\n")
    window = _window_entry(*bench.shape) if bench.as_window else None
    spec = PackSpec(
        name=bench.name,
        version=VERSION,
        family="bench",
        role="edge" if role == "edge" else "hub",
        labels=tuple(f"class-{number}" for number in range(bench.classes)),
        license="Apache-2.0",
        escalates_to=escalates_to,
        max_batch=bench.max_batch,
        inputs=(TensorEntry(name=INPUT, shape=(-1, *bench.shape)),),
        outputs=(OutputEntry(name=OUTPUT, shape=(-1, bench.classes)),),
        window=window,
        variants=(VariantEntry(id="fp32", file=graph.name),),
        golden=GoldenEntry(inputs={INPUT: "golden/x.npy"}, outputs={OUTPUT: "golden/logits.npy"}, tolerance=1e-3),
        card="CARD.md",
    )
    build_spec(spec, sources, folder / "layout", key)
    return folder / "layout"


def _window_entry(samples: int, channels: int) -> WindowEntry:
    return WindowEntry(
        samples=samples, rate_hz=float(samples), channel_names=tuple(f"c{number}" for number in range(channels))
    )


class _Network:
    """A graph in the making: each layer reads `last` and becomes it."""

    def __init__(self) -> None:
        self.body = b""
        self.last = INPUT
        self._random = np.random.default_rng(_SEED)
        self._names: Iterator[int] = count()
        self._limits: tuple[str, ...] = ()

    def layer(self, operator: str, *others: str, output: str | None = None, **attributes: float | list[int]) -> None:
        """Add an operator on the last tensor and others."""
        name = output or f"t{next(self._names)}"
        self.body += nested(1, node(operator, [self.last, *others], name, **attributes))
        self.last = name

    def weights(self, *shape: int, fan_in: int) -> str:
        """Draw weights as He et al. do (arXiv:1502.01852): the size of activations stays."""
        drawn = self._random.normal(size=shape, scale=np.sqrt(2.0 / fan_in)).astype(np.float32)
        return self.constant(drawn)

    def constant(self, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Add an initialiser."""
        name = f"w{next(self._names)}"
        self.body += nested(5, weights_tensor(name, values))
        return name

    def dense(self, n_in: int, n_out: int, output: str | None = None) -> None:
        """A fully connected layer."""
        bias = self.constant(np.zeros(n_out, np.float32))
        self.layer("Gemm", self.weights(n_in, n_out, fan_in=n_in), bias, output=output)

    def convolution(self, n_in: int, n_out: int, *, kernel: int = 1, stride: int = 1, group: int = 1) -> None:
        """A convolution that keeps the size but for its stride."""
        per_group = n_in // group
        weights = self.weights(n_out, per_group, kernel, kernel, fan_in=per_group * kernel * kernel)
        bias = self.constant(np.zeros(n_out, np.float32))
        self.layer(
            "Conv",
            weights,
            bias,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
            group=group,
        )

    def relu6(self) -> None:
        """min(max(x, 0), 6)."""
        self._limits = self._limits or tuple(self.constant(np.array(end, np.float32)) for end in (0.0, 6.0))
        self.layer("Clip", *self._limits)

    def file(self, shape: tuple[int, ...], classes: int) -> bytes:
        """The ONNX file."""
        return model(
            self.body
            + text(2, "bench")
            + nested(11, value(INPUT, ("batch", *shape)))
            + nested(12, value(OUTPUT, ("batch", classes)))
        )


def _mlp_graph(shape: tuple[int, ...]) -> bytes:
    network = _Network()
    if len(shape) > 1:
        network.layer("Reshape", network.constant(np.array([-1, _MLP_SIZES[0]], np.int64)))
    hidden = list(pairwise(_MLP_SIZES[:-1]))
    for n_in, n_out in hidden:
        network.dense(n_in, n_out)
        network.layer("Relu")
    network.dense(*_MLP_SIZES[-2:], output=OUTPUT)
    return network.file(shape, _MLP_SIZES[-1])


def _cnn_graph() -> bytes:
    network = _Network()
    network.convolution(_PICTURE[0], _STEM, kernel=3, stride=2)
    network.relu6()
    channels = _STEM
    for stage in _STAGES:
        for number in range(stage.repeats):
            _inverted_residual(network, stage, channels, stage.stride if number == 0 else 1)
            channels = stage.channels
    network.convolution(channels, _HEAD)
    network.relu6()
    network.layer("GlobalAveragePool")
    network.layer("Flatten", axis=1)
    network.dense(_HEAD, _CLASSES, output=OUTPUT)
    return network.file(_PICTURE, _CLASSES)


def _inverted_residual(network: _Network, stage: _Stage, n_in: int, stride: int) -> None:
    """Expand, filter each channel by itself, project; add the input where sizes allow."""
    before, wide = network.last, n_in * stage.expansion
    if stage.expansion > 1:
        network.convolution(n_in, wide)
        network.relu6()
    network.convolution(wide, wide, kernel=stage.kernel, stride=stride, group=wide)
    network.relu6()
    network.convolution(wide, stage.channels)
    if stride == 1 and n_in == stage.channels:
        network.layer("Add", before)
