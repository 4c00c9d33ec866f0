"""What a report counts: by hand, with exact intervals."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_packs.certificate.binomial import lower_tail
from model_packs.report.evaluation import Evaluation
from model_packs.report.figures import counted, figures, kept_rows
from tests.unit.model_packs.report.examples import CERTIFICATE, NAMES, ROWS, tally


def test_the_numbers_by_hand() -> None:
    """Ten rows, threshold 0.5: seven stay, one with just this score and one wrong; the hub mends two of three."""
    found = figures(ROWS, CERTIFICATE)

    assert (found.n_rows, found.edge.count) == (10, 6)
    assert found.hub is not None
    assert found.hub.count == 8
    assert found.point is not None
    assert found.point.threshold == 0.5
    assert found.point.escalated.count == 3
    assert found.point.kept_wrong is not None
    assert (found.point.kept_wrong.count, found.point.kept_wrong.of) == (1, 7)
    assert found.point.accuracy is not None
    assert found.point.accuracy.count == 8
    assert list(found.least) == pytest.approx([0.2, 0.2])
    assert dict(found.by_share)[0.0] == pytest.approx(0.6)
    assert dict(found.by_share)[0.2] == pytest.approx(0.8)
    assert dict(found.by_share)[1.0] == pytest.approx(0.8)


def test_classes_are_counted_by_what_the_edge_answered() -> None:
    """The most escalated first; a class that nothing is kept of has no share of wrong ones."""
    found = figures(ROWS, CERTIFICATE)
    assert [row.name for row in found.classes] == ["broken", "idle", "moving"]
    broken, idle, moving = found.classes
    assert (broken.rows, broken.escalated.value, broken.kept_wrong) == (2, 1.0, None)
    assert (idle.rows, idle.escalated.count) == (4, 1)
    assert moving.kept_wrong is not None
    assert (moving.kept_wrong.count, moving.kept_wrong.of) == (1, 4)


def test_a_pack_without_a_certificate_has_curves_and_no_point() -> None:
    """Nothing is claimed to be kept, and no class is said to escalate."""
    found = figures(ROWS, None)
    assert (found.point, found.classes) == (None, ())
    assert found.limits is not None


def test_without_the_hub_only_the_edge_is_counted() -> None:
    """No accuracy of both, no bounds, no price list."""
    found = figures(replace(ROWS, hub_correct=None, probability=None, predicted=None), CERTIFICATE)
    assert (found.hub, found.limits, found.by_share, found.least) == (None, None, (), (None, None))
    assert found.point is not None
    assert found.point.accuracy is None
    assert found.point.kept_wrong is not None
    assert (found.bins, found.ece, found.classes) == ((), None, ())


def test_a_certificate_without_a_threshold_keeps_nothing() -> None:
    """Everything is escalated, and that is counted."""
    none = replace(CERTIFICATE, threshold=None, coverage=None)
    kept = kept_rows(ROWS, none)
    assert kept is not None
    assert not kept.any()
    found = figures(ROWS, none)
    assert found.point is not None
    assert (found.point.escalated.count, found.point.kept_wrong) == (10, None)


def test_a_threshold_for_each_class_keeps_by_class() -> None:
    """A class without a threshold, or one that nobody certified, is escalated whole."""
    tallies = [tally("idle", 0.5), tally("moving", None)]
    grouped = replace(CERTIFICATE, threshold=None, coverage=None, group_by="predicted_class", groups=tuple(tallies))
    kept = kept_rows(ROWS, grouped)
    assert kept is not None
    assert kept.tolist() == [name == "idle" and score >= 0.5 for name, score in zip(NAMES, ROWS.score, strict=True)]
    found = figures(ROWS, grouped)
    assert found.point is not None
    assert found.point.threshold is None
    assert found.point.escalated.count == 7


def test_thresholds_by_class_are_tried_on_the_classes_though_sites_are_told_too() -> None:
    """A file may hold sites for another certificate; thresholds by predicted class look at the answers."""
    tallies = (tally("broken", None), tally("idle", 0.45), tally("moving", 0.75))
    grouped = replace(CERTIFICATE, threshold=None, coverage=None, group_by="predicted_class", groups=tallies)
    by_class = kept_rows(ROWS, grouped)
    both = kept_rows(replace(ROWS, groups=np.array(["north"] * 10)), grouped)
    assert by_class is not None
    assert both is not None
    assert both.tolist() == by_class.tolist()


def test_groups_that_the_rows_do_not_tell_give_no_point() -> None:
    """A certificate by site cannot be tried on rows of unknown sites; with sites it can."""
    by_site = replace(CERTIFICATE, threshold=None, coverage=None, group_by="site", groups=(tally("north", 0.5),))
    assert figures(ROWS, by_site).point is None
    told = figures(replace(ROWS, groups=np.array(["north"] * 5 + ["south"] * 5)), by_site)
    assert told.point is not None
    assert told.point.escalated.count == 8


@given(st.integers(1, 300).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_intervals_are_exact(case: tuple[int, int]) -> None:
    """At both ends, what was seen has just two and a half percent (Clopper and Pearson), or the end is 0 or 1."""
    count, of = case
    share = counted(count, of)
    assert 0.0 <= share.low <= share.value <= share.high <= 1.0
    if count < of:
        assert lower_tail(count, of, share.high) == pytest.approx(0.025, rel=1e-6)
    if count > 0:
        assert lower_tail(of - count, of, 1.0 - share.low) == pytest.approx(0.025, rel=1e-6)


def test_an_unseen_event_has_the_known_interval() -> None:
    """0 of 100: from 0 to 1 - 0.025 ** (1 / 100)."""
    share = counted(0, 100)
    assert share.low == 0.0
    assert share.high == pytest.approx(1.0 - 0.025 ** (1 / 100))


def test_every_row_counts_once_in_the_reliability_table() -> None:
    """Bins hold all rows, and the error is between 0 and 1."""
    generator = np.random.default_rng(3)
    probability = generator.random(500)
    rows = Evaluation("drawn", "row", probability, generator.random(500) < probability, None, None, probability)
    found = figures(rows, None)
    assert sum(inside.count for inside in found.bins) == 500
    assert found.ece is not None
    assert found.ece < 0.1
