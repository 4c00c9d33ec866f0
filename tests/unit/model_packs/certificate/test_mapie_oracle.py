"""Ours against MAPIE's: the same rows, the same sequence, another implementation of tests and procedure."""

import json

import pytest

from model_packs.certificate.certify import certify
from tests.unit.model_packs.certificate import mapie_oracle

ORACLE = json.loads(mapie_oracle.FILE.read_text())


def test_the_oracle_s_thresholds_are_ours() -> None:
    """On all 60 pairs of rows and levels the thresholds are identical, abstentions too."""
    ours, theirs = [], []
    for case in ORACLE["cases"]:
        tuning, score, right = mapie_oracle.rows(case["seed"])
        outcome = certify(score, right, target=case["target"], delta=case["delta"], tune_scores=tuning)
        ours.append(outcome.threshold)
        theirs.append(case["threshold"])

    assert len(theirs) == 60
    assert ours == theirs
    assert any(threshold is None for threshold in theirs)
    assert len({threshold for threshold in theirs if threshold is not None}) > 30


@pytest.mark.parametrize("level", mapie_oracle.LEVELS)
def test_the_oracle_was_asked_at_every_level(level: tuple[float, float]) -> None:
    """The file holds every case that the script would write."""
    asked = [case["seed"] for case in ORACLE["cases"] if (case["target"], case["delta"]) == level]

    assert asked == list(mapie_oracle.SEEDS)
