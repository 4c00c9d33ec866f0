"""What the exported graphs do on rows that did not train them.

Owns running a graph on windows and the figures of the model card. Everything is measured on the exported ONNX file,
with the engine that the devices use.
"""

from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model_packs.calibration.temperature import AcceptedTemperature, accept_temperature, softmax
from model_packs.certificate.clustering import design_effect
from model_packs.shipped.motion_band.training.recipes import Rows

PROVIDER = "CPUExecutionProvider"


@dataclass(frozen=True, slots=True)
class Scores:
    """Answers of one network.

    Attributes:
        confidence: float64 [n], largest probability after the temperature.
        right: bool [n], whether the answer is the label.
    """

    confidence: NDArray[np.float64]
    right: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FieldFigures:
    """An edge pack and its hub on the field rows of one wrist.

    Attributes:
        windows: How many.
        edge: Share right when the edge answers everything.
        hub: Share right when the hub answers everything.
        hybrid: Share right when the hub answers what the edge does not keep.
        escalated: Share that the edge does not keep.
        kept_error: Share wrong among the kept; None when nothing is kept.
        design_effect: Of the edge's errors, by recording.
    """

    windows: int
    edge: float
    hub: float
    hybrid: float
    escalated: float
    kept_error: float | None
    design_effect: float | None


def logits(graph: bytes, windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a graph in one thread: float32 [n, 50, 6] to float32 [n, 7]."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=[PROVIDER])
    return session.run(["logits"], {"window": windows})[0]


def fitted_temperature(graph: bytes, tuning: Rows) -> AcceptedTemperature:
    """Fit on the recordings with even numbers, judge on the others."""
    outputs = logits(graph, tuning.windows)
    even = tuning.recordings % 2 == 0
    return accept_temperature((outputs[even], tuning.labels[even]), (outputs[~even], tuning.labels[~even]))


def scores(graph: bytes, rows: Rows, temperature: float) -> Scores:
    """Confidence and correctness of every answer."""
    probabilities = softmax(logits(graph, rows.windows), temperature)
    return Scores(probabilities.max(axis=1), probabilities.argmax(axis=1) == rows.labels)


def field_figures(edge: Scores, hub: Scores, rows: Rows, threshold: float | None) -> FieldFigures:
    """What happens in the field when the edge keeps what reaches the threshold, and nothing without one."""
    kept = np.zeros(len(rows.labels), dtype=np.bool_) if threshold is None else edge.confidence >= threshold
    return FieldFigures(
        windows=len(rows.labels),
        edge=float(edge.right.mean()),
        hub=float(hub.right.mean()),
        hybrid=float(np.where(kept, edge.right, hub.right).mean()),
        escalated=float((~kept).mean()),
        kept_error=float((~edge.right[kept]).mean()) if kept.any() else None,
        design_effect=design_effect(~edge.right, rows.recordings),
    )
