"""The rules of the escalation bench: Sedna's as published, and none that looks at the rows it is judged on."""

from dataclasses import replace

import numpy as np
import pytest

from tests.bench.escalation_rules import Answers, rules, sedna_confidence


def answers(n_rows: int, seed: int) -> Answers:
    """Rows of three classes, an edge that is wrong more often where it is torn, and a hub."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0.0, 2.0, (n_rows, 3))
    labels = np.where(generator.random(n_rows) < 0.8, logits.argmax(axis=1), generator.integers(3, size=n_rows))
    return Answers(
        logits=logits,
        labels=labels.astype(np.int64),
        edge_right=logits.argmax(axis=1) == labels,
        hub_right=generator.random(n_rows) < 0.95,
        clusters=np.arange(n_rows) // 4,
    )


def test_sedna_s_cross_entropy_filter_is_the_published_rule() -> None:
    """1 + sum p log p / log n, by hand; where it would raise on a probability of 0, that class adds nothing."""
    found = sedna_confidence(np.array([[0.5, 0.5], [0.9, 0.1], [1.0, 0.0]]))
    by_hand = 1.0 + (0.9 * np.log(0.9) + 0.1 * np.log(0.1)) / np.log(2.0)
    assert found == pytest.approx([0.0, by_hand, 1.0])


def test_no_rule_sees_the_field_s_outcomes() -> None:
    """With all truths of the field turned round, every score stays as it is."""
    tuning, calibration, field = answers(300, 1), answers(600, 2), answers(400, 3)
    turned = replace(
        field,
        labels=2 - field.labels,
        edge_right=~field.edge_right,
        hub_right=~field.hub_right,
        clusters=-field.clusters,
    )

    plain, again = rules(tuning, calibration, field), rules(tuning, calibration, turned)

    assert plain.without == ""
    assert (plain.scaling, plain.deferral) == (again.scaling, again.deferral)
    assert [rule.name for rule in plain.rules][:2] == [
        "Tandem: learned deferral",
        "Tandem: max probability, calibrated",
    ]
    for one, other in zip(plain.rules, again.rules, strict=True):
        assert one.name == other.name
        assert (one.field == other.field).all()
        assert (one.known == other.known).all()


def test_a_score_that_cannot_be_learned_is_left_out_and_told() -> None:
    """Where the hub never helps there is nothing to learn; the reason is kept for the reader."""
    rows = replace(answers(300, 1), hub_right=answers(300, 1).edge_right)
    found = rules(rows, rows, rows)
    assert found.deferral is None
    assert "Tandem: learned deferral" not in [rule.name for rule in found.rules]
    assert "in 0 of 600 rows" in found.without
