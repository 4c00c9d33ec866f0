"""Owns one small real pack of each task but classification, for tests: a linear graph whose two outputs are known.

The model takes a window [5, 2] and gives `y` [batch, 2]; of a regression the first output is sliced off.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_packs.build import build_spec
from model_packs.golden import write_npy
from model_packs.pack import Pack
from model_packs.pack_spec import OutputEntry, PackSpec, RegressionEntry, VariantEntry
from tests.simulators.onnx_bytes import model, nested, node, text, value, weights_tensor
from tests.simulators.packs import CHANNELS, SAMPLES, SPEC

TOLERANCE, LEVEL = 0.5, 0.8
RESIDUALS = np.arange(1, 100) / 50.0  # 99 rows: the 80 % interval reaches 80 / 50 spreads

_PLAIN = replace(SPEC, labels=(), golden=None, card=None, escalates_to=None, role="hub")

REGRESSION = replace(
    _PLAIN,
    name="wear-hub",
    family="wear",
    task="regression",
    outputs=(OutputEntry(name="wear", shape=(-1, 1)), OutputEntry(name="spread", shape=(-1, 1))),
    regression=RegressionEntry(tolerance=TOLERANCE, level=LEVEL, residuals="residuals.npy", spread="spread", unit="mm"),
)
TENSOR = replace(
    _PLAIN,
    name="raw-hub",
    family="raw",
    task="tensor",
    outputs=(OutputEntry(name="wear", shape=(-1, 1)), OutputEntry(name="spread", shape=(-1, 1))),
)


def regression_graph() -> bytes:
    """Write a graph: `wear` is the sum of the first channel, `spread` that of the second, [batch, 1] each.

    Returns:
        An ONNX file.
    """
    columns = np.zeros((SAMPLES * CHANNELS, 2), np.float32)
    columns[0::2, 0] = 1.0
    columns[1::2, 1] = 1.0
    graph = (
        nested(1, node("Reshape", ["window", "shape"], "flat"))
        + nested(1, node("MatMul", ["flat", "first"], "wear"))
        + nested(1, node("MatMul", ["flat", "second"], "spread"))
        + text(2, "sums")
        + nested(5, weights_tensor("shape", np.array([-1, SAMPLES * CHANNELS], np.int64)))
        + nested(5, weights_tensor("first", columns[:, :1].copy()))
        + nested(5, weights_tensor("second", columns[:, 1:].copy()))
        + nested(11, value("window", ("batch", SAMPLES, CHANNELS)))
        + nested(12, value("wear", ("batch", 1)))
        + nested(12, value("spread", ("batch", 1)))
    )
    return model(graph)


def window(wear: float, spread: float) -> NDArray[np.float32]:
    """Make a window whose answer is known.

    Args:
        wear: What `wear` will be.
        spread: What `spread` will be.

    Returns:
        FP32 [samples, channels].
    """
    values = np.zeros((SAMPLES, CHANNELS), np.float32)
    values[0] = (wear, spread)
    return values


def build_task(folder: Path, spec: PackSpec) -> Pack:
    """Build a pack of `REGRESSION`, `TENSOR` or a change of them into `folder / "layout"`.

    Args:
        folder: An existing folder; sources go to `folder / "sources"`.
        spec: The declaration.

    Returns:
        The pack.
    """
    sources = folder / "sources"
    sources.mkdir(exist_ok=True)
    (sources / "model.onnx").write_bytes(regression_graph())
    (sources / "residuals.npy").write_bytes(write_npy(RESIDUALS[::-1]))
    return build_spec(replace(spec, variants=(VariantEntry(id="fp32", file="model.onnx"),)), sources, folder / "layout")
