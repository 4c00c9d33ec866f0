"""Owns the populations that `bench_certificate` draws from: pools whose risk is the truth, so a wrong choice is seen.

The shipped students' own scores on their field rows, and simulated score families, each with a trap of its own. Their
parameters were set by hand so that each trap is sprung by some rule; none was set by what our rules made of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_packs.engines.opening import open_session
from model_packs.manifest import PackRef
from model_packs.pack import Pack
from model_packs.scoring import score
from model_packs.shipped.labelled_rows import labelled_rows, shipped_pack

SHIPPED: Final = ("motion-band-edge@1.0.0", "motion-band-edge@2.0.0", "form-digits-edge@1.0.0")
CACHE: Final = Path(__file__).parents[2] / "build" / "data"
POOL_ROWS: Final = 20_000
CLUSTER_ROWS: Final = 10
POOL_CLUSTERS: Final = 2_000
SEED: Final = 20261122


@dataclass(frozen=True, slots=True)
class Family:
    """A population with what is true of it; its rows are drawn with replacement.

    Attributes:
        name: For the tables.
        score: float64 [rows].
        is_error: bool [rows].
        clusters: int64 [rows], from 0; each row its own unless rows fail together.
    """

    name: str
    score: NDArray[np.float64]
    is_error: NDArray[np.bool_]
    clusters: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Share of wrong rows if all are kept."""
        return float(self.is_error.mean())

    def kept(self, thresholds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Share of rows that each threshold keeps, and share of wrong ones among them: the truth.

        Args:
            thresholds: float64 [choices]; infinity keeps nothing.

        Returns:
            Coverages and risks, both 0 where nothing is kept.
        """
        falling = np.argsort(-self.score, kind="stable")
        n_kept = np.searchsorted(-self.score[falling], -thresholds, side="right")
        wrong = np.concatenate(([0], np.cumsum(self.is_error[falling])))[n_kept]
        return n_kept / len(falling), wrong / np.maximum(n_kept, 1)

    def oracle_coverage(self, target: float) -> float:
        """The largest coverage that any threshold has at a risk of at most the target.

        Args:
            target: The risk allowed.

        Returns:
            From 0 to 1.
        """
        order = np.argsort(-self.score, kind="stable")
        falling = self.score[order]
        is_last_of_ties = np.append(falling[1:] != falling[:-1], True)
        n_kept = np.arange(1, len(falling) + 1)
        allowed = is_last_of_ties & (np.cumsum(self.is_error[order]) <= target * n_kept)
        return float(n_kept[allowed].max() / len(falling)) if allowed.any() else 0.0


def shipped_families(say: Callable[[str], None]) -> tuple[Family, ...]:
    """The shipped students on field rows that nothing was learned from.

    Args:
        say: Told of what takes time.

    Returns:
        One family for each student; motion windows with their recording as the cluster.
    """
    return tuple(_shipped(PackRef.parse(ref), say) for ref in SHIPPED)


def simulated_families() -> tuple[Family, ...]:
    """Score families with one trap each, rows independent.

    Returns:
        calibrated: the score is the probability of being right. Over-confident: one row in eight is wrong, and most
        scores are close to 1 all the same. Heavy ties: the calibrated scores of a worse model on six values.
        Non-monotone: the top tenth of the scores is wrong more often than the rest. A cliff: hardly an error above a
        score, every second row wrong below. No signal: 7 % wrong at every score.
    """
    rng = np.random.default_rng(SEED)
    uniform = rng.random(POOL_ROWS)
    calibrated = 1.0 - 0.5 * rng.beta(0.4, 4.6, POOL_ROWS)
    worse = 1.0 - 0.5 * rng.beta(0.6, 2.4, POOL_ROWS)
    sure = 1.0 - 0.25 * rng.beta(0.5, 2.0, POOL_ROWS)
    return (
        _independent("calibrated", calibrated, 1.0 - calibrated, rng),
        _independent("over-confident", 1.0 - (1.0 - sure) ** 2, 2.5 * (1.0 - sure), rng),
        _independent("heavy ties", np.ceil(worse * 10.0) / 10.0, 1.0 - worse, rng),
        _independent("non-monotone", uniform, np.select([uniform > 0.9, uniform > 0.2], [0.06, 0.01], 0.25), rng),
        _independent("cliff", uniform, np.where(uniform > 0.3, 0.005, 0.5), rng),
        _independent("no signal", uniform, np.full(POOL_ROWS, 0.07), rng),
    )


def clustered_family() -> Family:
    """Recordings of ten windows: one in nine is wrong in nine of ten windows that score below 0.6, as a whole.

    Returns:
        The family; in the other recordings one window in 500 is wrong. Windows that score above 0.6 are safe.
    """
    rng = np.random.default_rng(SEED + 1)
    clusters = np.repeat(np.arange(POOL_CLUSTERS), CLUSTER_ROWS)
    scores = rng.random(len(clusters))
    is_bad = (rng.random(POOL_CLUSTERS) < 1.0 / 9.0)[clusters] & (scores < 0.6)
    return Family("clustered", scores, rng.random(len(clusters)) < np.where(is_bad, 0.9, 0.002), clusters)


def _independent(
    name: str, scores: NDArray[np.float64], error: NDArray[np.float64], rng: np.random.Generator
) -> Family:
    return Family(name, scores, rng.random(len(scores)) < error, np.arange(len(scores)))


def _shipped(ref: PackRef, say: Callable[[str], None]) -> Family:
    pack = shipped_pack(ref)
    if pack is None:
        raise SystemExit(f"error: {ref} is not here\n  mend: run this in the repository")
    rows = labelled_rows(pack.manifest, "FIELD", CACHE, say)
    if rows is None:
        raise AssertionError("a shipped pack has rows")
    say(f"{ref}: scoring {len(rows.labels)} field rows")
    scores, answers = _answers(pack, rows.inputs)
    _, clusters = np.unique(rows.clusters, return_inverse=True)
    return Family(str(ref), scores, answers != rows.labels, clusters)


def _answers(pack: Pack, inputs: NDArray[np.generic]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Confidences and classes, as an agent computes them."""
    manifest = pack.manifest
    session = open_session(pack)
    try:
        scored = [
            answer
            for first in range(0, len(inputs), manifest.max_batch)
            for answer in score(
                manifest, session.run({manifest.inputs[0].name: inputs[first : first + manifest.max_batch]})
            )
        ]
    finally:
        session.close()
    names = {label: place for place, label in enumerate(manifest.labels)}
    classes = [-1 if answer.output is None else names[answer.output.told] for answer in scored]
    return np.array([answer.confidence for answer in scored]), np.array(classes)
