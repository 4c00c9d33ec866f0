"""Counts with the conclusion drawn from them, and whether they bear it.

Owns one tested statement, of all cases or of a group of them, its JSON, and the check that anybody can repeat: from
counts and evidence to the p-value, and from that to the threshold's right to stand.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

from model_packs.certificate import binomial
from model_packs.certificate.certify import Certified
from model_packs.certificate.evidence import Clusters, Evidence, Order, p_value
from model_packs.certificate.issuing import LEAST_MADE, MOST_MADE, Basis, Issuing
from model_packs.strict_json import Table

_P_VALUE_TOLERANCE: Final = 1e-9
_NAME: Final = r".{1,500}"
LEAST_LEVEL: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Tally:
    """One tested statement; fields as in `certify.Certified`.

    Attributes:
        group: Which cases it is about; empty for all.
        issuing: Part of the document only where there is one.
    """

    group: str
    delta: float
    threshold: float | None
    coverage: float | None
    n_units: int
    n_kept: int
    k_errors: int
    p_value: float
    evidence: Evidence
    more_needed: int | None
    issuing: Issuing | None = None

    def to_document(self) -> dict[str, Any]:
        """The fields by name, for JSON."""
        issuing = {} if self.issuing is None else {"issuing": issuing_document(self.issuing)}
        return issuing | {
            "group": self.group,
            "delta": self.delta,
            "threshold": self.threshold,
            "coverage": self.coverage,
            "n_units": self.n_units,
            "n_kept": self.n_kept,
            "k_errors": self.k_errors,
            "p_value": self.p_value,
            "evidence": evidence_document(self.evidence),
            "more_needed": self.more_needed,
        }

    def recomputed(self, target: float) -> float:
        """The p-value of the counts.

        Args:
            target: The error share that the kept shall stay below.

        Returns:
            From 0 to 1.

        Raises:
            ValueError: Counts and evidence that cannot be.
        """
        if not 0 <= self.k_errors <= self.n_kept <= self.n_units:
            counts = f"{self.k_errors} errors among {self.n_kept} kept of {self.n_units}"
            raise ValueError(f"impossible counts: {counts}")
        return p_value(self.evidence, self.k_errors, self.n_kept, target)

    def contradictions(self, recomputed: float) -> list[str]:
        """Where the statement contradicts its counts.

        Args:
            recomputed: Their p-value.

        Returns:
            The contradictions, in words.
        """
        found: list[str] = []
        if not math.isclose(recomputed, self.p_value, rel_tol=_P_VALUE_TOLERANCE, abs_tol=_P_VALUE_TOLERANCE):
            found.append(f"the p-value of the counts is {recomputed:.6g}, not {self.p_value:.6g}")
        level = self.delta if self.issuing is None else self.issuing.level(self.n_kept, self.delta)
        if self.threshold is not None and recomputed > level:
            found.append(f"the counts do not support the threshold: p {recomputed:.4g} is above delta {level:g}")
        if self.issuing is None and self.threshold is None and recomputed <= self.delta:
            found.append(f"the counts support a threshold (p {recomputed:.4g}), yet none is stated")
        if (self.threshold is None) != (self.coverage is None):
            found.append("threshold and coverage are stated together or not at all")
        if self.coverage is not None and not math.isclose(self.coverage, self.n_kept / max(self.n_units, 1)):
            found.append(f"coverage {self.coverage:.4f} is not {self.n_kept} of {self.n_units}")
        return found

    def issuing_contradictions(self, target: float) -> list[str]:
        """Where the statement contradicts what was said before it was tried.

        Args:
            target: The error share that the kept shall stay below.

        Returns:
            The contradictions, in words; none where delta is promised of the draws.
        """
        said = self.issuing
        if said is None:
            return []
        found = said.problems(target, self.delta)
        if said.basis is not None and said.expected_kept != self.n_units * said.tune_kept // max(1, said.basis.n_tune):
            found.append(f"the tuning rows do not forecast {said.expected_kept} kept of {self.n_units}")
        if said.expected_kept > self.n_units:
            found.append(f"{said.expected_kept} were expected to be kept of {self.n_units}")
        if not 0 <= self.k_errors - said.start_wrong <= self.n_kept - said.start_kept:
            found.append("a looser threshold keeps all that the first one keeps, wrong ones included")
        again = None if found else self._first_p_value(said, target)
        if again is not None and not math.isclose(
            again, said.start_p_value, rel_tol=_P_VALUE_TOLERANCE, abs_tol=_P_VALUE_TOLERANCE
        ):
            found.append(f"the p-value of the first test is {again:.6g}, not {said.start_p_value:.6g}")
        is_start = (self.n_kept, self.k_errors) == (said.start_kept, said.start_wrong)
        if is_start and not math.isclose(said.start_p_value, self.p_value, rel_tol=_P_VALUE_TOLERANCE):
            found.append("the first test has two p-values")
        if not is_start and (self.threshold is None or self.n_kept < said.start_kept):
            found.append("the counts are not those of the first test, nor of a looser threshold")
        if not found and said.is_entered(target, self.delta) != (self.threshold is not None):
            stated = "no threshold is stated" if self.threshold is None else "a threshold is stated"
            found.append(f"{stated}, though the first test says otherwise")
        return found

    def _first_p_value(self, said: Issuing, target: float) -> float | None:
        """Of the first test again; None where the certificate does not say what it was looked at."""
        if said.basis is not None:
            order = None if said.basis.last_error is None else Order(said.basis.last_error)
            try:
                return p_value(order, said.start_wrong, said.start_kept, target)
            except ValueError:  # an error cannot stand there
                return math.nan
        # By the former rule that of bets was taken as stated: it depends on the order of rows
        return binomial.lower_tail(said.start_wrong, said.start_kept, target) if self.evidence is None else None


def tally_of(group: str, certified: Certified) -> Tally:
    """Take the statement out of an outcome.

    Args:
        group: Which cases it is about.
        certified: From `certify.certify`.

    Returns:
        The statement.
    """
    return Tally(
        group=group,
        delta=certified.delta,
        threshold=certified.threshold,
        coverage=certified.coverage,
        n_units=certified.n_units,
        n_kept=certified.n_kept,
        k_errors=certified.k_errors,
        p_value=certified.p_value,
        evidence=certified.evidence,
        more_needed=certified.more_needed,
        issuing=certified.issuing,
    )


def read_tally(table: Table) -> Tally:
    """Read a statement; problems are noted in the table.

    Args:
        table: The object.

    Returns:
        The statement.
    """
    tally = Tally(
        group=table.text("group", _NAME),
        delta=table.number("delta", LEAST_LEVEL, 1.0 - LEAST_LEVEL),
        threshold=table.number("threshold", -math.inf) if table.has("threshold") else None,
        coverage=table.number("coverage", 0.0, 1.0) if table.has("coverage") else None,
        n_units=table.integer("n_units", 0, binomial.MAX_TRIALS),
        n_kept=table.integer("n_kept", 0, binomial.MAX_TRIALS),
        k_errors=table.integer("k_errors", 0, binomial.MAX_TRIALS),
        p_value=table.number("p_value", 0.0, 1.0),
        evidence=read_evidence(table),
        more_needed=table.integer("more_needed", 1, binomial.MAX_TRIALS) if table.has("more_needed") else None,
        issuing=read_issuing(table),
    )
    table.finish()
    return tally


def read_issuing(table: Table) -> Issuing | None:
    """Read what was said before a certificate was tried; problems are noted in the table.

    Args:
        table: The object with the key `issuing`, if it has one.

    Returns:
        What was said; None where delta is promised of the draws.
    """
    if not table.has("issuing"):
        return None
    inner = table.table("issuing")
    basis = _read_basis(inner.table("basis")) if inner.has("basis") else None
    counts = ("expected_kept", "tune_kept", "tune_wrong", "start_kept", "start_wrong")
    said = Issuing(
        chance=inner.number("chance", 0.0, 1.0),
        made=inner.number("made", 0.5 if basis is None else LEAST_MADE, MOST_MADE),
        start_p_value=inner.number("start_p_value", 0.0, 1.0),
        basis=basis,
        **{name: inner.integer(name, 0, binomial.MAX_TRIALS) for name in counts},
    )
    inner.finish()
    return said


def issuing_document(said: Issuing) -> dict[str, Any]:
    """Write what was said before a certificate was tried for JSON.

    Args:
        said: Any.

    Returns:
        Its fields by name; the basis only where there is one.
    """
    document = asdict(said)
    if said.basis is None:
        del document["basis"]
    return document


def _read_basis(table: Table) -> Basis:
    wrong = table.integers("wrong")
    if any(not 0 <= count <= binomial.MAX_TRIALS for count in wrong):
        table.note("wrong", f"of the tuning rows 0 to {binomial.MAX_TRIALS} are wrong between two thresholds")
        wrong = ()
    basis = Basis(
        n_tune=table.integer("n_tune", 1, binomial.MAX_TRIALS),
        wrong=wrong,
        last_error=table.integer("last_error", 0, binomial.MAX_TRIALS) if table.has("last_error") else None,
    )
    table.finish()
    return basis


def evidence_document(evidence: Evidence) -> dict[str, Any] | None:
    """Write evidence for JSON.

    Args:
        evidence: Any.

    Returns:
        Its fields by name; None for the exact binomial test, which needs none.
    """
    if evidence is None:
        return None
    if isinstance(evidence, Order):
        return {"last_error": evidence.last_error}
    return {
        "kept": [kept for kept, _, _ in evidence.counts],
        "wrong": [wrong for _, wrong, _ in evidence.counts],
        "clusters": [times for _, _, times in evidence.counts],
        "largest": evidence.largest,
        "bet": evidence.bets[0],
        "second_bet": evidence.bets[1] if len(evidence.bets) > 1 else None,
    }


def read_evidence(table: Table) -> Evidence:
    """Read evidence; problems are noted in the table.

    Args:
        table: The object with the key `evidence`.

    Returns:
        The evidence, or None when there is none.
    """
    if not table.has("evidence"):
        return None
    inner = table.table("evidence")
    evidence: Evidence = None
    if inner.has("last_error"):
        evidence = Order(inner.integer("last_error", 0, binomial.MAX_TRIALS))
    else:
        evidence = _read_clusters(inner)
    inner.finish()
    return evidence


def _read_clusters(table: Table) -> Clusters:
    kept, wrong, times = (table.integers(key) for key in ("kept", "wrong", "clusters"))
    largest = table.integer("largest", 1, binomial.MAX_TRIALS)
    bets = [table.number("bet", 0.0, 1.0)]
    if table.has("second_bet"):
        bets.append(table.number("second_bet", 0.0, 1.0))
    counts: tuple[tuple[int, int, int], ...] = ()
    if not len(kept) == len(wrong) == len(times):
        table.note("kept", "kept, wrong and clusters are equally long")
    elif any(
        not (0 <= bad <= good <= largest and 1 <= n <= binomial.MAX_TRIALS)
        for good, bad, n in zip(kept, wrong, times, strict=True)
    ):
        table.note("kept", f"a cluster has 0 to {largest} kept rows, at most as many wrong, and comes once at least")
    else:
        counts = tuple(zip(kept, wrong, times, strict=True))
    return Clusters(counts, largest, tuple(bets))
