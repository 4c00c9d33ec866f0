"""Owns the rule that says whether a quantised form of a model is worth having: measured faster, and as good as right.

Neither is a matter of course: static INT8 with unsigned activations and signed weights by channel runs convolutions two
to three times as fast, a small network slower than it was. Who measures is the caller: training, or `model-pack bench`.
"""

from dataclasses import dataclass
from typing import Final

LARGEST_TIME_SHARE: Final = 0.9
"""A quantised form is faster when one answer takes at most this share of the time."""

LARGEST_LOSS: Final = 0.005
"""And as good as right when at most this share of answers is lost."""


@dataclass(frozen=True, slots=True)
class Form:
    """One form of a model's graph.

    Attributes:
        graph_bytes: Size of the ONNX file.
        time_us: Median time of one answer, microseconds.
        right: Share right: of labelled rows, or of golden examples that are answered as recorded.
    """

    graph_bytes: int
    time_us: float
    right: float


def is_worth(plain: Form, quantised: Form) -> bool:
    """Decide which of two forms is kept; both measured on one machine, on the same inputs.

    Args:
        plain: The model as it was trained.
        quantised: The same with fewer bits.

    Returns:
        Whether the quantised form is clearly faster and loses almost nothing.
    """
    is_faster = quantised.time_us <= LARGEST_TIME_SHARE * plain.time_us
    return is_faster and quantised.right >= plain.right - LARGEST_LOSS
