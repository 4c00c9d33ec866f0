"""One threshold for each class, or for each site.

Owns certifying groups apart, and the report by group of one common threshold. A threshold that holds on the whole may
hide a class that is wrong three times as often. Where that matters, each group gets its own, tested at delta divided by
the number of groups: with confidence 1 - delta *all* the groups' statements hold at once (Bonferroni). Groups are told
apart by what is known before the outcome: the predicted class, the site, the device.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model_packs.certificate import binomial
from model_packs.certificate.certify import Certified, Promise, Unit, certify, named
from model_packs.certificate.errors import CertificateError, TooFewCases
from model_packs.certificate.selection import Method


@dataclass(frozen=True, slots=True)
class Grouped:
    """The outcomes of the groups.

    Attributes:
        target: The error share that the kept windows of each group stay below.
        delta: The chance that any of the groups' statements is wrong.
        groups: Name and outcome, by name; a group with too few rows has no threshold, and says how many are missing.
    """

    target: float
    delta: float
    groups: tuple[tuple[str, Certified], ...]


@dataclass(frozen=True, slots=True)
class GroupShare:
    """What one common threshold does to a group.

    Attributes:
        group: Its name.
        n_units: Its rows.
        n_kept: Kept ones among them.
        k_errors: Wrong ones among the kept.
    """

    group: str
    n_units: int
    n_kept: int
    k_errors: int


def certify_groups(
    score: ArrayLike,
    correct: ArrayLike,
    groups: ArrayLike,
    *,
    target: float,
    delta: float,
    tune_scores: ArrayLike | None = None,
    tune_groups: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    method: Method | None = None,
    unit: Unit = "row",
    tune_correct: ArrayLike | None = None,
    largest_cluster: int | None = None,
    promise: Promise | None = None,
) -> Grouped:
    """Choose the loosest threshold for each group.

    Args:
        score: As in `certify`.
        correct: As in `certify`.
        groups: int or str [rows], which group each row is in.
        target: As in `certify`, for each group.
        delta: The risk that any group's statement is wrong; split evenly.
        tune_scores: As in `certify`; when not given, 30 % of each group's rows are set aside.
        tune_groups: int or str [rows], the groups of tune_scores; needed with them.
        clusters: As in `certify`.
        method: As in `certify`.
        unit: As in `certify`; tuning clusters are set aside from each group's own.
        tune_correct: As in `certify`.
        largest_cluster: As in `certify`.
        promise: As in `certify`.

    Returns:
        The outcomes.

    Raises:
        CertificateError: As in `certify`, or a group without tuning scores of its own.
        TooFewCases: No group has enough rows.
    """
    scores, names = np.asarray(score), _names("groups", groups, score)
    right = np.asarray(correct)
    if right.shape != scores.shape:
        raise CertificateError(f"{len(scores)} scores but outcomes of shape {right.shape}")
    where = None if clusters is None else _names("clusters", clusters, score)
    tuning = _tuning(tune_scores, tune_groups)
    known = None if tune_correct is None else np.asarray(tune_correct)
    if known is not None and (tuning is None or known.shape != tuning[0].shape):
        raise CertificateError("outcomes of tuning rows belong to tuning scores, one each")
    found, refusals = [], []
    levels = {name: delta / len(np.unique(names)) for name in np.unique(names).tolist()}
    for name, level in levels.items():
        chosen = names == name
        if tuning is not None and not (tuning[1] == name).any():
            raise CertificateError(f"group {name} has no tuning scores")
        try:
            outcome = certify(
                scores[chosen],
                right[chosen],
                target=target,
                delta=level,
                tune_scores=None if tuning is None else tuning[0][tuning[1] == name],
                clusters=None if where is None else where[chosen],
                method=method,
                unit=unit,
                largest_cluster=largest_cluster,
                tune_correct=None if known is None or tuning is None else known[tuning[1] == name],
                promise=promise,
            )
        except TooFewCases as refusal:
            outcome = _nothing(refusal, int(chosen.sum()), target, level, unit)
            refusals.append(refusal)
        found.append((name, outcome))
    if len(refusals) == len(found):
        raise refusals[0]
    return Grouped(target, delta, tuple(found))


def report_by_group(
    score: ArrayLike, correct: ArrayLike, groups: ArrayLike, threshold: float | None
) -> tuple[GroupShare, ...]:
    """Count by group what one common threshold keeps and gets wrong: a report, no statement.

    Args:
        score: float [rows].
        correct: bool [rows].
        groups: int or str [rows].
        threshold: Rows with this score or more are kept; None keeps nothing.

    Returns:
        The groups, by name.

    Raises:
        CertificateError: Lists of different lengths.
    """
    scores, names, right = np.asarray(score), _names("groups", groups, score), np.asarray(correct, dtype=np.bool_)
    if right.shape != scores.shape:
        raise CertificateError(f"{len(scores)} scores but outcomes of shape {right.shape}")
    kept = np.zeros(scores.shape, dtype=np.bool_) if threshold is None else scores >= threshold
    return tuple(
        GroupShare(
            name,
            int((names == name).sum()),
            int((kept & (names == name)).sum()),
            int((kept & ~right)[names == name].sum()),
        )
        for name in np.unique(names).tolist()
    )


def _tuning(scores: ArrayLike | None, groups: ArrayLike | None) -> tuple[NDArray[np.generic], NDArray[np.str_]] | None:
    """Tuning scores with their groups."""
    if scores is None:
        return None
    if groups is None:
        raise CertificateError("tuning scores need their groups, too")
    return np.asarray(scores), _names("tuning groups", groups, scores)


def _names(what: str, values: ArrayLike, scores: ArrayLike) -> NDArray[np.str_]:
    """A list of names, one for each score."""
    return named(what, values, np.asarray(scores).shape).astype(np.str_)


def _nothing(refusal: TooFewCases, n_rows: int, target: float, delta: float, unit: Unit) -> Certified:
    """The outcome of a group with too few rows: nothing was tested."""
    return Certified(
        target=target,
        delta=delta,
        threshold=None,
        coverage=None,
        n_units=n_rows,
        n_kept=0,
        k_errors=0,
        p_value=1.0,
        n_tune=0,
        n_clusters=None,
        design_effect=None,
        unit=unit,
        more_needed=min(refusal.n_needed - refusal.n_cases, binomial.MAX_TRIALS),
    )
