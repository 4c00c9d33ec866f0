"""Owns the thresholds that MAPIE chooses on the same rows: what `test_mapie_oracle` holds ours against.

    python -m tests.unit.model_packs.certificate.mapie_oracle

Writes mapie_thresholds.json beside this file. It runs in an environment of its own, made by `pip install mapie==1.6.0`
(BSD-3-Clause; it brings scikit-learn and scipy, 170 MB installed, too much for every developer's environment); the
tests need the file only.

MAPIE gets the same sequence of thresholds; it tests "the kept are wrong" with its p-value for binary risks and its own
fixed-sequence procedure from one start. The risk is declared as errors, not as one minus precision: MAPIE multiplies it
by the number of rows again and rounds up, and 1 - 501 / 518 is a hair above 17 / 518.
"""

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_packs.certificate import selection

FILE: Final = Path(__file__).with_name("mapie_thresholds.json")
SEEDS: Final = range(12)
LEVELS: Final = ((0.05, 0.05), (0.02, 0.05), (0.05, 0.01), (0.2, 0.1), (0.1, 0.05))
N_CALIBRATION: Final = 600
N_TUNING: Final = 250


def rows(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Rows of a student that errs less the surer it is; every third seed has tied scores.

    Args:
        seed: Which rows.

    Returns:
        Tuning scores, calibration scores and whether the answer was right.
    """
    rng = np.random.default_rng([20261122, seed])
    score = 1.0 - 0.5 * rng.beta(0.5, 4.0 - seed % 4, N_TUNING + N_CALIBRATION)
    score = score.round(2) if seed % 3 == 0 else score
    right = rng.random(N_CALIBRATION) < score[N_TUNING:]
    return score[:N_TUNING], score[N_TUNING:], right


def mapie_threshold(seed: int, target: float, delta: float) -> float | None:
    """The loosest threshold that MAPIE's controller finds valid.

    Args:
        seed: Which rows.
        target: The error share to stay below.
        delta: Level of the tests.

    Returns:
        The threshold; None if none is valid.
    """
    from mapie.risk_control import (  # noqa: PLC0415 - only the oracle's own environment has it
        BinaryClassificationController,
        BinaryRisk,
        FWERFixedSequenceTesting,
    )

    tuning, score, right = rows(seed)
    sequence = selection.threshold_sequence(tuning, len(score), target, delta)
    wrong = BinaryRisk(
        risk_occurrence=lambda truth, kept: truth != kept,
        risk_condition=lambda _, kept: kept == 1,
        higher_is_better=False,
    )
    controller: Any = BinaryClassificationController(
        predict_function=lambda column: np.stack([1.0 - column[:, 0], column[:, 0]], axis=1),
        risk=wrong,
        target_level=target,
        confidence_level=1.0 - delta,
        best_predict_param_choice=wrong,
        list_predict_params=np.array(sequence),
        fwer_method=FWERFixedSequenceTesting(n_starts=1),
    )
    controller.calibrate(score[:, None], right.astype(int))
    valid = np.asarray(controller.valid_predict_params, dtype=np.float64)
    return float(valid.min()) if len(valid) else None


def main() -> int:
    """Write the file."""
    cases = [
        {"seed": seed, "target": target, "delta": delta, "threshold": mapie_threshold(seed, target, delta)}
        for seed in SEEDS
        for target, delta in LEVELS
    ]
    document = {"oracle": f"mapie {metadata.version('mapie')}", "cases": cases}
    FILE.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
