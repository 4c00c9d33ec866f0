"""Owns ten rows and a certificate that the report's tests share."""

from typing import Final

import numpy as np

from model_packs.certificate.certify import certify
from model_packs.certificate.document import Circumstances, certificate_of
from model_packs.certificate.tally import Tally
from model_packs.digests import digest_of
from model_packs.report.evaluation import Evaluation

NAMES: Final = ("broken", "broken", "idle", "idle", "moving", "moving", "moving", "moving", "idle", "idle")
_SCORE: Final = np.array([0.1, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])

ROWS: Final = Evaluation(
    source="ten rows",
    unit="window",
    score=_SCORE,
    correct=np.array([0, 0, 0, 1, 0, 1, 1, 1, 1, 1], dtype=bool),
    hub_correct=np.array([1, 1, 0, 1, 0, 1, 1, 1, 1, 1], dtype=bool),
    predicted=np.array(NAMES),
    probability=_SCORE,
)

CERTIFICATE: Final = certificate_of(
    certify([0.5] * 200, [True] * 199 + [False], target=0.05, delta=0.05, tune_scores=[0.5] * 20),
    Circumstances(
        risk="error",
        reference="labels",
        population="rows like these",
        assumption="rows independent",
        cluster_unit=None,
        graph_digest=digest_of(b"graph"),
        variant="fp32",
        provider="CPUExecutionProvider",
        precision="fp32",
        dataset_digest=digest_of(b"data"),
        temperature=1.0,
        issued_at="2026-11-22T00:00:00Z",
        valid_until=None,
    ),
)


def tally(group: str, threshold: float | None) -> Tally:
    """The statement about one group; the counts are a stand-in, nobody tests them here."""
    return Tally(
        group=group,
        delta=0.025,
        threshold=threshold,
        coverage=None if threshold is None else 1.0,
        n_units=200,
        n_kept=200,
        k_errors=1,
        p_value=0.001,
        evidence=None,
        more_needed=None,
    )
