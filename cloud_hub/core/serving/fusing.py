"""Owns how the answers of an ensemble's members become one: by mean, by weighted mean, or by vote.

Outputs are fused as they are (logits as logits); answers with a confidence are fused as probabilities, after each
member's own calibration, which is what a verdict is made of.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_packs.manifest import DETECTION, PackManifest
from model_packs.outputs import Classification
from model_packs.scoring import Scored

NO_MEMBER: Final = "no_member_scored"
"""Why an ensemble gave no answer: its members gave different reasons, or none."""


class Rule(StrEnum):
    """How members are fused."""

    MEAN = "mean"
    WEIGHTED = "weighted"
    VOTE = "vote"


def mismatch(first: PackManifest, other: PackManifest) -> str | None:
    """Tell why two packs cannot be members of one ensemble.

    Args:
        first: One member.
        other: Another.

    Returns:
        What differs, for a person; None if they take and give the same.
    """
    for what, mine, theirs in (
        ("inputs", first.inputs, other.inputs),
        ("outputs", first.outputs, other.outputs),
        ("task", first.task, other.task),
        ("labels", first.labels, other.labels),
    ):
        if mine != theirs:
            return f"{first.ref} and {other.ref} have not the same {what}"
    if first.task == DETECTION:
        return f"{first.ref} tells boxes: a mean of boxes is none, so such answers are not fused"
    for spec in first.outputs:
        if spec.datatype not in ("FP16", "FP32", "FP64"):
            return f"output {spec.name!r} of {first.ref} is {spec.datatype}: only floating-point outputs can be fused"
    return None


def fuse_outputs(
    rule: Rule, members: Sequence[Mapping[str, NDArray[Any]]], weights: Sequence[float]
) -> dict[str, NDArray[Any]]:
    """Fuse raw outputs.

    Args:
        rule: How.
        members: Each member's outputs: by name floats [windows, …], of equal shapes.
        weights: Of each member, more than 0; `MEAN` takes them as equal.

    Returns:
        By name an array of the members' dtype and shape: means; for `VOTE` along the last axis the share of the
        weights whose largest value is there.
    """
    shares = _shares(rule, weights)
    fused: dict[str, NDArray[Any]] = {}
    for name, first in members[0].items():
        values = np.stack([member[name] for member in members]).astype(np.float64)
        if rule is Rule.VOTE:
            values = _votes(values)
        fused[name] = np.tensordot(shares, values, axes=1).astype(first.dtype)
    return fused


def fuse_scored(
    rule: Rule, members: Sequence[Sequence[Scored]], weights: Sequence[float], labels: Sequence[str]
) -> tuple[Scored, ...]:
    """Fuse answers with a confidence.

    Args:
        rule: How.
        members: Each member's answers, one a window, classifications.
        weights: Of each member, more than 0; `MEAN` takes them as equal.
        labels: Of all of them, in their order.

    Returns:
        One answer a window. Its confidence is the fused probability (or share of votes) of its label. A member that
        could not score a window has no voice there.
    """
    shares = _shares(rule, weights)
    return tuple(_fused_window(rule, window, shares, labels) for window in zip(*members, strict=True))


def _fused_window(rule: Rule, answers: Sequence[Scored], shares: NDArray[np.float64], labels: Sequence[str]) -> Scored:
    said = [(one.output, share) for one, share in zip(answers, shares.tolist(), strict=True)]
    heard = [(output, share) for output, share in said if isinstance(output, Classification)]
    if not heard:
        reasons = {one.unscorable for one in answers}
        return Scored(None, 0.0, reasons.pop() or NO_MEMBER if len(reasons) == 1 else NO_MEMBER)
    values = np.array([[output.scores.get(label, 0.0) for label in labels] for output, _ in heard])
    if rule is Rule.VOTE:
        values = _votes(values)
    voices = np.array([share for _, share in heard])
    fused = (voices @ values / voices.sum()).tolist()
    best = max(range(len(labels)), key=lambda index: (fused[index], -index))
    return Scored(Classification(labels[best], dict(zip(labels, fused, strict=True))), fused[best], None)


def _shares(rule: Rule, weights: Sequence[float]) -> NDArray[np.float64]:
    """Weights that make one."""
    given = np.ones(len(weights)) if rule is Rule.MEAN else np.array(weights, dtype=np.float64)
    return np.asarray(given / given.sum())


def _votes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """One where a row's largest value is, the first of equals, and zero elsewhere."""
    return np.asarray(np.arange(values.shape[-1]) == values.argmax(axis=-1)[..., None], dtype=np.float64)
