"""What the exported graphs do on rows that did not train them.

Owns running a graph on crops and the figures of the model card. Everything is measured on the exported ONNX file, with
the engine that the devices use.
"""

import time
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model_packs.calibration.temperature import AcceptedTemperature, accept_temperature, softmax
from model_packs.shipped.form_digits.training.recipes import Rows

PROVIDER = "CPUExecutionProvider"
WARM_UP_RUNS = 500
TIMED_ROUNDS = 20
RUNS_A_ROUND = 200


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
    """An edge pack and its hub on field rows.

    Attributes:
        crops: How many.
        edge: Share right when the edge answers everything.
        hub: Share right when the hub answers everything.
        hybrid: Share right when the hub answers what the edge does not keep.
        escalated: Share that the edge does not keep.
        kept_error: Share wrong among the kept; None when nothing is kept.
    """

    crops: int
    edge: float
    hub: float
    hybrid: float
    escalated: float
    kept_error: float | None


def logits(graph: bytes, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run a graph in one thread: uint8 [n, 28, 28] to float32 [n, 10]."""
    return _session(graph).run(["logits"], {"image": crops})[0]


def fitted_temperature(graph: bytes, tuning: Rows) -> AcceptedTemperature:
    """Fit on every other tuning row, judge on the rest; the rows are shuffled."""
    outputs = logits(graph, tuning.crops)
    return accept_temperature((outputs[::2], tuning.labels[::2]), (outputs[1::2], tuning.labels[1::2]))


def scores(graph: bytes, rows: Rows, temperature: float) -> Scores:
    """Confidence and correctness of every answer."""
    probabilities = softmax(logits(graph, rows.crops), temperature)
    return Scores(probabilities.max(axis=1), probabilities.argmax(axis=1) == rows.labels)


def field_figures(
    edge: Scores, hub: Scores, threshold: float | None, among: NDArray[np.bool_] | None = None
) -> FieldFigures:
    """What happens in the field when the edge keeps what reaches the threshold, and nothing without one.

    Args:
        edge: The edge's answers.
        hub: The hub's answers to the same rows.
        threshold: The edge's.
        among: bool [n], the rows that count; all when not given.

    Returns:
        The figures.
    """
    chosen = np.ones(len(edge.right), dtype=np.bool_) if among is None else among
    edge_right, hub_right = edge.right[chosen], hub.right[chosen]
    kept = np.zeros(len(edge_right), dtype=np.bool_) if threshold is None else edge.confidence[chosen] >= threshold
    return FieldFigures(
        crops=len(edge_right),
        edge=float(edge_right.mean()),
        hub=float(hub_right.mean()),
        hybrid=float(np.where(kept, edge_right, hub_right).mean()),
        escalated=float((~kept).mean()),
        kept_error=float((~edge_right[kept]).mean()) if kept.any() else None,
    )


def run_times_us(graphs: dict[str, bytes], crop: NDArray[np.uint8]) -> dict[str, float]:
    """Median time of one run on one crop in one thread, the graphs taking turns so that load hits all alike.

    Args:
        graphs: The ONNX files by name.
        crop: uint8 [1, 28, 28].

    Returns:
        Microseconds by name.
    """
    sessions = {name: _session(graph) for name, graph in graphs.items()}
    times_ns: dict[str, list[int]] = {name: [] for name in graphs}
    for session in sessions.values():
        for _run in range(WARM_UP_RUNS):
            session.run(["logits"], {"image": crop})
    for _round in range(TIMED_ROUNDS):
        for name, session in sessions.items():
            for _run in range(RUNS_A_ROUND):
                start_ns = time.perf_counter_ns()
                session.run(["logits"], {"image": crop})
                times_ns[name].append(time.perf_counter_ns() - start_ns)
    return {name: float(np.median(values)) / 1000.0 for name, values in times_ns.items()}


def _session(graph: bytes) -> onnxruntime.InferenceSession:
    """A graph in one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=[PROVIDER])
