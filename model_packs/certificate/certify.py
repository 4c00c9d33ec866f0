"""From scores and outcomes to a threshold with the evidence for it.

Owns what a set of rows can be certified for: refusing rows that no statement can be made of, setting tuning rows aside,
running the selection and counting. The procedure itself is `selection`; what the result says to others, and on which
graph and data, is `document`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model_packs.certificate import binomial, clustering, selection
from model_packs.certificate.errors import CertificateError

TUNE_PERCENT: Final = 30


@dataclass(frozen=True, slots=True)
class Certified:
    """The outcome of a certification; that no threshold qualifies is one.

    Attributes:
        target: The error share that the kept windows stay below.
        delta: The chance, over the draw of the calibration rows, that they do not although the threshold was chosen.
        threshold: Windows with this score or more are kept; None when no threshold qualifies.
        coverage: Share of the calibration windows that is kept; None without a threshold.
        n_units: Calibration windows.
        n_kept: Kept ones among them at the threshold, or at the strictest threshold tested when none qualifies.
        k_errors: Wrong ones among the kept.
        p_value: Exact p-value of "at least the target share of the kept is wrong".
        n_tune: Tuning windows that fixed the order of the tests.
        n_clusters: Clusters that the calibration windows come from; None when not told.
        design_effect: Of the kept windows' errors over the clusters; None when it cannot be measured.
    """

    target: float
    delta: float
    threshold: float | None
    coverage: float | None
    n_units: int
    n_kept: int
    k_errors: int
    p_value: float
    n_tune: int
    n_clusters: int | None
    design_effect: float | None


def certify(
    score: ArrayLike,
    correct: ArrayLike,
    *,
    target: float,
    delta: float,
    tune_scores: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
) -> Certified:
    """Choose the loosest threshold that exact fixed-sequence testing supports.

    Args:
        score: float [rows], finite; windows with higher scores are kept first.
        correct: bool [rows], whether the answer was right.
        target: The error share that the kept windows shall stay below, strictly between 0 and 1.
        delta: The risk of a wrong statement, strictly between 0 and 1.
        tune_scores: float [rows], scores of other windows, which fix the order of the tests. When not given, the first
            30 % of the rows are set aside for it; their outcomes are not used.
        clusters: int [rows], which recording (device, day) each row comes from, to measure the design effect.

    Returns:
        The outcome, with or without a threshold.

    Raises:
        CertificateError: No rows, rows that do not belong together, scores that are not finite, outcomes that are not
            yes or no, levels out of range, or fewer rows than any outcome could certify (the message says how many it
            takes).
    """
    for name, level in (("target", target), ("delta", delta)):
        if not 0.0 < level < 1.0:
            raise CertificateError(f"{name} lies strictly between 0 and 1, not {level}")
    scores = _scores("scores", score)
    is_right = _outcomes(correct, len(scores))
    groups = _clusters(clusters, len(scores))
    if tune_scores is None:
        n_tune = len(scores) * TUNE_PERCENT // 100
        tuning, scores, is_right = scores[:n_tune], scores[n_tune:], is_right[n_tune:]
        groups = None if groups is None else groups[n_tune:]
        _enough(len(scores), target, delta, set_aside=n_tune)
    else:
        tuning = _scores("tuning scores", tune_scores)
        _enough(len(scores), target, delta, set_aside=0)
    thresholds = selection.threshold_sequence(tuning, len(scores), target, delta)
    tested = selection.select(thresholds, scores, ~is_right, target=target, delta=delta)
    return _outcome(tested, scores, is_right, groups, target=target, delta=delta, n_tune=len(tuning))


def _outcome(
    tested: tuple[selection.Tested, ...],
    scores: NDArray[np.float64],
    is_right: NDArray[np.bool_],
    groups: NDArray[np.intp] | None,
    *,
    target: float,
    delta: float,
    n_tune: int,
) -> Certified:
    """The last rejected threshold, or the evidence that there is none."""
    rejected = [test for test in tested if test.is_rejected]
    shown = rejected[-1] if rejected else tested[0]
    kept = scores >= shown.threshold
    return Certified(
        target=target,
        delta=delta,
        threshold=shown.threshold if rejected else None,
        coverage=shown.n_kept / len(scores) if rejected else None,
        n_units=len(scores),
        n_kept=shown.n_kept,
        k_errors=shown.k_errors,
        p_value=shown.p_value,
        n_tune=n_tune,
        n_clusters=None if groups is None else len(np.unique(groups)),
        design_effect=None if groups is None else clustering.design_effect(~is_right[kept], groups[kept]),
    )


def _enough(n_calibration: int, target: float, delta: float, *, set_aside: int) -> None:
    """Refuse fewer rows than any outcome could certify."""
    try:
        needed = binomial.required_trials(target, delta, selection.START_ERRORS)
    except ValueError as exc:
        raise CertificateError(f"target {target} with delta {delta} is out of reach: {exc}") from exc
    if n_calibration >= needed:
        return
    rows = needed if not set_aside else -(-needed * 100 // (100 - TUNE_PERCENT))
    aside = f", of which {TUNE_PERCENT} % are set aside for tuning" if set_aside else ""
    raise CertificateError(
        f"{n_calibration} calibration rows cannot show an error share below {target:g} at delta {delta:g}: "
        f"collect at least {rows}{aside}, or choose a larger target"
    )


def _scores(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """A list of finite numbers."""
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1:
        raise CertificateError(f"{name} are one list, not of shape {scores.shape}")
    if len(scores) == 0:
        raise CertificateError(f"there are no {name}")
    broken = np.flatnonzero(~np.isfinite(scores))
    if len(broken):
        raise CertificateError(f"{name} hold {len(broken)} values that are not finite, the first in row {broken[0]}")
    return scores


def _outcomes(correct: ArrayLike, n_rows: int) -> NDArray[np.bool_]:
    """A list of right and wrong, one for each score."""
    values = np.asarray(correct)
    if values.shape != (n_rows,):
        raise CertificateError(f"{n_rows} scores but outcomes of shape {values.shape}")
    if not np.isin(values, (0, 1)).all():
        raise CertificateError("outcomes are right (1, true) or wrong (0, false), nothing else")
    return values.astype(np.bool_)


def _clusters(clusters: ArrayLike | None, n_rows: int) -> NDArray[np.intp] | None:
    """A list of cluster numbers, one for each score."""
    if clusters is None:
        return None
    names = np.asarray(clusters)
    if names.shape != (n_rows,):
        raise CertificateError(f"{n_rows} scores but clusters of shape {names.shape}")
    return np.unique(names, return_inverse=True)[1].astype(np.intp)
