"""From scores and outcomes to a threshold with the evidence for it.

Owns what a set of rows can be certified for: refusing rows that no statement can be made of, setting tuning rows aside,
running the selection and counting. The procedures themselves are `selection` and `cluster_selection`; one threshold for
each class or site is `groups`; what the result says to others, and on which graph and data, is `document`.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model_packs.certificate import binomial, cluster_selection, clustering, forecasting, issuing, selection
from model_packs.certificate.cluster_selection import Rows
from model_packs.certificate.errors import CertificateError, TooFewCases
from model_packs.certificate.evidence import Evidence, Order
from model_packs.certificate.issuing import Basis, Issuing
from model_packs.certificate.selection import Method, Tested

TUNE_PERCENT: Final = 30

EXACT: Final = "learn-then-test, fixed sequence from the power start, exact binomial"
BETTING: Final = "learn-then-test, fixed sequence from the power start, betting on rows in the order drawn"
ISSUED: Final = {
    "exact": "learn-then-test of what is issued, fixed sequence from a good forecast, exact binomial",
    "betting": "learn-then-test of what is issued, fixed sequence from a good forecast, betting on rows in order",
}
CLUSTER_BETTING: Final = "learn-then-test, fixed sequence from the power start, betting on cluster sums"

Unit = Literal["row", "cluster"]
Promise = Literal["issued", "drawn"]


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
        p_value: Of "at least the target share of the kept is wrong".
        n_tune: Tuning windows that fixed the order of the tests.
        n_clusters: Clusters that the calibration windows come from; None when not told.
        design_effect: Of the kept windows' errors over the clusters; None when it cannot be measured.
        method: How the threshold was found, in words.
        unit: What was taken as an independent draw.
        evidence: What the p-value rests on beside the counts; None for the exact binomial test.
        more_needed: Without a threshold, how many more judged units (rows, or clusters) would do if they fall out as
            these did, those set aside for tuning included; None if these cannot tell, or none is missing.
        issuing: What tuning rows said before it was tried, where delta is promised of the certificates that are issued;
            None where it is promised of the draws.
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
    method: str = EXACT
    unit: Unit = "row"
    evidence: Evidence = None
    more_needed: int | None = None
    issuing: Issuing | None = None


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows that were found usable.

    Attributes:
        scores: float64 [rows].
        is_right: bool [rows].
        clusters: int [rows], from 0 in the order of their first row; None when not told.
    """

    scores: NDArray[np.float64]
    is_right: NDArray[np.bool_]
    clusters: NDArray[np.intp] | None

    def __getitem__(self, chosen: NDArray[np.bool_] | slice) -> "_Rows":
        clusters = None if self.clusters is None else self.clusters[chosen]
        return _Rows(self.scores[chosen], self.is_right[chosen], clusters)


def certify(
    score: ArrayLike,
    correct: ArrayLike,
    *,
    target: float,
    delta: float,
    tune_scores: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    method: Method | None = None,
    unit: Unit = "row",
    tune_clusters: ArrayLike | None = None,
    largest_cluster: int | None = None,
    tune_correct: ArrayLike | None = None,
    promise: Promise | None = None,
) -> Certified:
    """Choose the loosest threshold that fixed-sequence testing supports.

    Method and unit are chosen before the outcomes are looked at: who tries both and takes the better one has spent
    delta twice.

    Args:
        score: float [rows], finite; windows with higher scores are kept first. In the order drawn.
        correct: bool [rows], whether the answer was right, as the risk reads it (`risks.outcomes`).
        target: The error share that the kept windows shall stay below, strictly between 0 and 1.
        delta: The risk of a wrong statement, strictly between 0 and 1.
        tune_scores: float [rows], scores of other windows, which fix the order of the tests. When not given, the first
            30 % of the rows (of the clusters, if they are the unit) are set aside for it.
        clusters: int or str [rows], which recording (device, day) each row comes from. With rows as the unit, to
            measure the design effect only.
        method: `exact`, the default for rows: the exact binomial test. `betting`: never below it, and it looks at the
            order of the rows; the only one for clusters.
        unit: What is drawn independently: `row`, or `cluster` where the rows of a cluster fail together.
        tune_clusters: int or str [rows], the clusters of tune_scores; needed with them if the cluster is the unit. None
            of them may be among `clusters`.
        largest_cluster: Rows of a cluster that count at most, the first ones; when not given, as many as the largest
            tuning cluster has.
        tune_correct: bool [rows], the outcomes of tune_scores, which tell what to expect (`issuing`).
        promise: `issued`: of the certificates that are issued, at most delta are wrong, if the forecast from tuning
            rows is right; the default where rows are the unit and outcomes of tuning rows are known. `drawn`: of all
            draws, at most delta end in a wrong certificate; tuning outcomes are not used.

    Returns:
        The outcome, with or without a threshold.

    Raises:
        CertificateError: No rows, rows that do not belong together, scores that are not finite, outcomes that are not
            yes or no, levels out of range, or a method or promise that the unit or the rows do not have.
        TooFewCases: Fewer rows or clusters than any outcome could certify; the message says how many it takes.
    """
    for name, level in (("target", target), ("delta", delta)):
        if not 0.0 < level < 1.0:
            raise CertificateError(f"{name} lies strictly between 0 and 1, not {level}")
    scores = _scores("scores", score)
    rows = _Rows(
        scores, _outcomes(correct, len(scores)), None if clusters is None else _numbered(clusters, len(scores))
    )
    tuning = None if tune_scores is None else _scores("tuning scores", tune_scores)
    if unit == "row":
        known = _known(tuning, tune_correct)
        return _certify_unit(rows, tuning, known, promise, target=target, delta=delta, method=method or "exact")
    if promise == "issued":
        raise CertificateError("of those issued nothing is promised by cluster: leave the promise out, or say drawn")
    if clusters is None or rows.clusters is None or (tuning is not None and tune_clusters is None):
        raise CertificateError("with the cluster as the unit, give the clusters of all rows, of tuning rows too")
    if method == "exact":
        raise CertificateError("there is no exact binomial test of clusters: leave the method out, or say betting")
    before = None
    if tuning is not None and tune_clusters is not None:
        _apart(named("clusters", clusters, scores.shape), named("tuning clusters", tune_clusters, tuning.shape))
        before = (tuning, _numbered(tune_clusters, len(tuning)))
    return _certify_clusters(rows, rows.clusters, before, largest_cluster, target=target, delta=delta)


def named(what: str, values: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """Read names of clusters or groups.

    Args:
        what: What they are, for messages.
        values: int or str [rows].
        shape: Of the scores that they belong to.

    Returns:
        The names.

    Raises:
        CertificateError: Another shape, or a row without a name.
    """
    names: NDArray[np.generic] = np.asarray(values)
    if names.shape != shape:
        raise CertificateError(f"scores of shape {shape} but {what} of shape {names.shape}")
    if names.dtype.kind == "O" and all(isinstance(name, str) for name in names.ravel().tolist()):
        names = names.astype(np.str_)  # Parquet's words are objects
    if names.dtype.kind not in "biufU" or (names.dtype.kind == "f" and np.isnan(names.astype(np.float64)).any()):
        raise CertificateError(f"{what} are words or numbers; name a row that belongs to none, or leave it out")
    return names


def _known(tuning: NDArray[np.float64] | None, correct: ArrayLike | None) -> NDArray[np.bool_] | None:
    """Outcomes of tuning rows; None if not told."""
    if correct is None:
        return None
    if tuning is None:
        raise CertificateError("outcomes of tuning rows need their scores: give tune_scores, too")
    return _outcomes(correct, len(tuning))


def _certify_unit(
    rows: _Rows,
    tuning: NDArray[np.float64] | None,
    known: NDArray[np.bool_] | None,
    promise: Promise | None,
    *,
    target: float,
    delta: float,
    method: Method,
) -> Certified:
    """Rows are drawn independently: set some aside if there are no tuning rows, and keep the promise that is meant."""
    n_aside = 0
    if tuning is None:
        n_aside = max(1, len(rows.scores) * TUNE_PERCENT // 100)
        aside, rows = rows[slice(n_aside)], rows[slice(n_aside, None)]
        tuning, known = aside.scores, aside.is_right
    if promise == "drawn" or (promise is None and known is None):
        return _certify_rows(rows, tuning, n_aside, target=target, delta=delta, method=method)
    if known is None:
        raise CertificateError("what is issued is forecast from tuning rows: give their outcomes, tune_correct")
    return _certify_issued(rows, tuning, ~known, n_aside, target=target, delta=delta, method=method)


def _certify_rows(
    rows: _Rows, tuning: NDArray[np.float64], n_aside: int, *, target: float, delta: float, method: Method
) -> Certified:
    """Rows are drawn independently, and delta is promised of the draws."""
    _enough(len(rows.scores), target, delta, set_aside=n_aside)
    thresholds = selection.threshold_sequence(tuning, len(rows.scores), target, delta)
    tested = selection.select(thresholds, rows.scores, ~rows.is_right, target=target, delta=delta, method=method)
    more = None
    if not tested[0].is_rejected:
        more = forecasting.more_rows(tuning, rows.scores, ~rows.is_right, target=target, delta=delta)
    return _outcome(
        tested,
        rows,
        target=target,
        delta=delta,
        n_tune=len(tuning),
        method=EXACT if method == "exact" else BETTING,
        unit="row",
        more_needed=_missing(more, len(rows.scores), n_aside),
    )


def _certify_issued(
    rows: _Rows,
    tuning: NDArray[np.float64],
    is_wrong: NDArray[np.bool_],
    n_aside: int,
    *,
    target: float,
    delta: float,
    method: Method,
) -> Certified:
    """Rows are drawn independently, and delta is promised of the certificates that are issued."""
    n_units = len(rows.scores)
    _enough_to_issue(n_units, len(tuning), target, delta, is_aside=n_aside > 0)
    start = issuing.lay_down(tuning, is_wrong, n_units, target=target, delta=delta)
    (first,) = selection.select(
        start.thresholds[:1], rows.scores, ~rows.is_right, target=target, delta=delta, method=method
    )
    said = Issuing(
        start.chance,
        start.made,
        start.expected_kept,
        start.tune_kept,
        start.tune_wrong,
        first.n_kept,
        first.k_errors,
        first.p_value,
        Basis(len(tuning), start.wrong, first.evidence.last_error if isinstance(first.evidence, Order) else None),
    )
    tested: tuple[Tested, ...] = (replace(first, is_rejected=said.is_entered(target, delta)),)
    more = None
    if tested[0].is_rejected:
        tested += selection.select(
            start.thresholds[1:],
            rows.scores,
            ~rows.is_right,
            target=target,
            delta=said.walk_level(delta),
            method=method,
        )
    else:
        seen = (np.concatenate([tuning, rows.scores]), np.concatenate([is_wrong, ~rows.is_right]))
        more = forecasting.more_to_issue(*seen, n_units, start.made, target=target, delta=delta)
    outcome = _outcome(
        tested,
        rows,
        target=target,
        delta=delta,
        n_tune=len(tuning),
        method=ISSUED[method],
        unit="row",
        more_needed=_missing(more, n_units, n_aside),
    )
    return replace(outcome, issuing=said)


def _apart(names: NDArray[np.generic], tuning: NDArray[np.generic]) -> None:
    """Refuse clusters on both sides: the order of the tests must not come from what is tested."""
    both = np.intersect1d(names, tuning)
    if len(both):
        raise CertificateError(
            f"cluster {both[0]!s} (and {len(both) - 1} more) has tuning rows and calibration rows: set whole clusters "
            "aside, and give different ones different names"
        )


def _certify_clusters(
    rows: _Rows,
    names: NDArray[np.intp],
    before: tuple[NDArray[np.float64], NDArray[np.intp]] | None,
    largest: int | None,
    *,
    target: float,
    delta: float,
) -> Certified:
    """Clusters are drawn independently."""
    n_aside = 0
    if before is None:
        n_aside = (int(names.max()) + 1) * TUNE_PERCENT // 100
        is_tuning = names < n_aside
        before, rows, names = (rows.scores[is_tuning], names[is_tuning]), rows[~is_tuning], names[~is_tuning] - n_aside
        if n_aside == 0:
            _enough(0, target, delta, set_aside=int(names.max()) + 1, what="clusters")
    largest = int(np.bincount(before[1]).max()) if largest is None else largest
    if largest < 1:
        raise CertificateError(f"of a cluster at least 1 row counts, not {largest}")
    tuning_cut, rows_cut = cluster_selection.cut(before[1], largest), cluster_selection.cut(names, largest)
    tuning = Rows(before[0][tuning_cut], before[1][tuning_cut], int(before[1].max()) + 1)
    rows, names = rows[rows_cut], names[rows_cut]
    calibration = Rows(rows.scores, names, int(names.max()) + 1)
    stakes = cluster_selection.lay_down(tuning, calibration.n_clusters, largest=largest, target=target, delta=delta)
    if not stakes:
        needed = cluster_selection.required_clusters(tuning, largest=largest, target=target, delta=delta)
        raise _too_few(calibration.n_clusters, needed, target, delta, set_aside=n_aside, what="clusters")
    tested = cluster_selection.select(stakes, calibration, ~rows.is_right, largest=largest, target=target, delta=delta)
    more = None
    if not tested[0].is_rejected:
        (found,) = cluster_selection.counts(
            stakes[:1], calibration, ~rows.is_right, largest=largest, target=target, delta=delta
        )
        more = forecasting.more_clusters(found, calibration.n_clusters, target=target, delta=delta)
    return _outcome(
        tested,
        rows,
        target=target,
        delta=delta,
        n_tune=len(tuning.scores),
        method=CLUSTER_BETTING,
        unit="cluster",
        more_needed=_missing(more, calibration.n_clusters, n_aside),
    )


def _outcome(
    tested: tuple[Tested, ...],
    rows: _Rows,
    *,
    target: float,
    delta: float,
    n_tune: int,
    method: str,
    unit: Unit,
    more_needed: int | None,
) -> Certified:
    """The last rejected threshold, or the evidence that there is none."""
    rejected = [test for test in tested if test.is_rejected]
    shown = rejected[-1] if rejected else tested[0]
    kept = rows.scores >= shown.threshold
    names = rows.clusters
    return Certified(
        target=target,
        delta=delta,
        threshold=shown.threshold if rejected else None,
        coverage=shown.n_kept / len(kept) if rejected else None,
        n_units=len(kept),
        n_kept=shown.n_kept,
        k_errors=shown.k_errors,
        p_value=shown.p_value,
        n_tune=n_tune,
        n_clusters=None if names is None else len(np.unique(names)),
        design_effect=None if names is None else clustering.design_effect(~rows.is_right[kept], names[kept]),
        method=method,
        unit=unit,
        evidence=shown.evidence,
        more_needed=more_needed,
    )


def _with_tuning(number: int) -> int:
    """The fewest cases that leave this many for calibration."""
    total = number * 100 // (100 - TUNE_PERCENT) - 1
    while total - max(1, total * TUNE_PERCENT // 100) < number:
        total += 1
    return total


def _missing(more: int | None, n_units: int, n_aside: int) -> int | None:
    """How many more cases it takes, those that will be set aside included; None beyond what can be certified."""
    if more is None:
        return None
    total = _with_tuning(n_units + more) if n_aside else n_units + more
    return max(1, total - n_units - n_aside) if total <= binomial.MAX_TRIALS else None


def _enough(n_units: int, target: float, delta: float, *, set_aside: int, what: str = "rows") -> None:
    """Refuse fewer rows, or clusters of one row, than any outcome could certify."""
    try:
        needed = binomial.required_trials(target, delta, errors=0)
    except ValueError as exc:
        raise CertificateError(f"target {target} with delta {delta} is out of reach: {exc}") from exc
    if n_units < needed:
        raise _too_few(n_units, needed, target, delta, set_aside=set_aside, what=what)


def _enough_to_issue(n_units: int, n_tune: int, target: float, delta: float, *, is_aside: bool) -> None:
    """Refuse fewer rows than any outcome could issue a certificate on."""
    needed = _needed_to_issue(n_tune, target, delta)
    if n_units >= needed:
        return
    if is_aside:  # more rows in all are more tuning rows, too
        total = n_units + n_tune
        while total - max(1, total * TUNE_PERCENT // 100) < _needed_to_issue(
            max(1, total * TUNE_PERCENT // 100), target, delta
        ):
            total += 1
        needed = total - max(1, total * TUNE_PERCENT // 100)
    raise _too_few(n_units, needed, target, delta, set_aside=n_tune if is_aside else 0, what="rows")


def _needed_to_issue(n_tune: int, target: float, delta: float) -> int:
    """The fewest calibration rows that would do without an error anywhere."""
    level = issuing.entry_level(delta, issuing.best_made(n_tune, target))
    try:
        return max(
            binomial.required_trials(target, delta, errors=0),
            binomial.required_trials(issuing.unfit_rate(target), level, errors=0),
        )
    except ValueError as exc:
        raise CertificateError(f"target {target} with delta {delta} is out of reach: {exc}") from exc


def _too_few(n_units: int, needed: int, target: float, delta: float, *, set_aside: int, what: str) -> TooFewCases:
    """Say how many it takes."""
    total = _with_tuning(needed) if set_aside else needed
    aside = f", of which {TUNE_PERCENT} % are set aside for tuning" if set_aside else ""
    return TooFewCases(
        f"{n_units} calibration {what} cannot show an error share below {target:g} at delta {delta:g}, even if none is "
        f"wrong: collect at least {total}{aside}, or choose a larger target",
        n_cases=n_units + set_aside,
        n_needed=total,
    )


def _scores(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """A list of finite numbers."""
    try:
        scores = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as exc:
        raise CertificateError(f"{name} are numbers: {exc}") from exc
    if scores.ndim != 1:
        raise CertificateError(f"{name} are one list, not of shape {scores.shape}")
    if len(scores) == 0:
        raise CertificateError(f"there are no {name}")
    if len(scores) > binomial.MAX_TRIALS:
        raise CertificateError(f"{len(scores)} {name}; at most {binomial.MAX_TRIALS} are certified at once")
    broken = np.flatnonzero(~np.isfinite(scores))
    if len(broken):
        raise CertificateError(f"{name} hold {len(broken)} values that are not finite, the first in row {broken[0]}")
    return scores


def _outcomes(correct: ArrayLike, n_rows: int) -> NDArray[np.bool_]:
    """A list of right and wrong, one for each score."""
    values = np.asarray(correct)
    if values.shape != (n_rows,):
        raise CertificateError(f"{n_rows} scores but outcomes of shape {values.shape}")
    if values.dtype == np.bool_:
        return values
    if not np.isin(values, (0, 1)).all():
        raise CertificateError("outcomes are right (1, true) or wrong (0, false), nothing else")
    return values.astype(np.bool_)


def _numbered(clusters: ArrayLike, n_rows: int) -> NDArray[np.intp]:
    """Cluster numbers, one for each score, from 0 in the order of the first row of each."""
    names = named("clusters", clusters, (n_rows,))
    _, first_rows, sorted_numbers = np.unique(names, return_index=True, return_inverse=True)
    place = np.empty(len(first_rows), dtype=np.intp)
    place[np.argsort(first_rows)] = np.arange(len(first_rows))
    numbers: NDArray[np.intp] = place[sorted_numbers]
    return numbers
