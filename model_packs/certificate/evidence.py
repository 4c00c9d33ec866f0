"""What a threshold rests on beside its counts, and the p-value that follows.

Owns the evidence of the betting tests: for rows, where the last error stood; for clusters, how many clusters kept and
got wrong how many rows. From the counts and the evidence anybody computes the p-value again. The exact binomial test
needs the counts only, so its evidence is None.
"""

from dataclasses import dataclass

import numpy as np

from model_packs.certificate import betting, binomial


@dataclass(frozen=True, slots=True)
class Order:
    """Of rows taken one by one.

    Attributes:
        last_error: Place of the last error among the kept rows in the order drawn, counted from 1; 0 without errors.
    """

    last_error: int


@dataclass(frozen=True, slots=True)
class Clusters:
    """Of clusters taken as units.

    Attributes:
        counts: (kept rows, wrong ones among them, how many clusters are like that), rising.
        largest: Rows of a cluster that were counted at most; later ones were left out unseen.
        bets: Shares of the possible that were staked; fixed from tuning rows.
    """

    counts: tuple[tuple[int, int, int], ...]
    largest: int
    bets: tuple[float, ...]

    @property
    def totals(self) -> tuple[int, int]:
        """Kept rows, and wrong ones among them, over all clusters."""
        return (
            sum(kept * times for kept, _, times in self.counts),
            sum(wrong * times for _, wrong, times in self.counts),
        )


Evidence = Order | Clusters | None


def p_value(evidence: Evidence, k_errors: int, n_kept: int, target: float) -> float:
    """The p-value of "of the kept, at least the share `target` is wrong".

    Args:
        evidence: Beside the counts; None for the exact binomial test.
        k_errors: Wrong rows among the kept.
        n_kept: Kept rows.
        target: Strictly between 0 and 1.

    Returns:
        From 0 to 1.

    Raises:
        ValueError: Counts and evidence that cannot be.
    """
    if evidence is None:
        return binomial.lower_tail(k_errors, n_kept, target)
    if isinstance(evidence, Order):
        return betting.ordered_p_value(k_errors, n_kept, evidence.last_error, target)
    if evidence.totals != (n_kept, k_errors):
        raise ValueError(f"the clusters do not add up to {k_errors} wrong of {n_kept} kept")
    kept, wrong, times = np.array(evidence.counts, dtype=np.int64).reshape(-1, 3).T
    made = betting.capital(kept, wrong, times, largest=evidence.largest, bets=evidence.bets, rate=target)
    return 1.0 if made <= 1.0 else 1.0 / made
