"""Conformal intervals: they cover, they refuse, and turned round they are a confidence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_packs.calibration.conformal import Conformal, calibrate

LEVELS = st.floats(0.01, 0.99)


def test_intervals_cover_at_least_at_their_level() -> None:
    """Over 4,000 draws of 19 calibration rows and one new row, with noise that no normal curve describes."""
    generator = np.random.default_rng(11)
    spread = generator.uniform(0.5, 3.0, (4000, 20))
    error = spread * generator.standard_t(3, (4000, 20))
    covered = {0.5: 0, 0.9: 0}
    for widths, wrong in zip(spread, error, strict=True):
        conformal = calibrate(np.zeros(19), wrong[:19], widths[:19])
        for level in covered:
            covered[level] += bool(abs(wrong[19]) <= conformal.half_width(widths[19:], level)[0])
    assert covered[0.5] / 4000 == pytest.approx(0.5, abs=0.03)
    assert covered[0.9] / 4000 == pytest.approx(0.9, abs=0.02)


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=30), st.floats(0.01, 10.0), st.floats(0.01, 50.0), LEVELS)
def test_the_confidence_is_the_largest_level_that_fits(
    residuals: list[float], spread: float, tolerance: float, level: float
) -> None:
    """An interval of a level fits into the tolerance exactly when the confidence is at least that level."""
    conformal = Conformal(np.sort(np.array(residuals)))
    confidence = conformal.confidence([spread], tolerance)[0]
    reach = conformal.half_width([1.0], level)[0]
    if abs(level - confidence) > 1e-9:
        assert (reach <= tolerance / spread) == (level <= confidence)


def test_what_the_model_is_less_sure_of_gets_less_confidence() -> None:
    """Answers with a wider spread come lower, within 0 and 1."""
    conformal = calibrate(np.zeros(9), np.arange(1.0, 10.0), np.ones(9))
    assert conformal.confidence([0.1, 0.5, 1.0, 100.0], 5.0).tolist() == [0.9, 0.9, 0.5, 0.0]


def test_too_few_rows_for_a_level_give_no_finite_interval() -> None:
    """Nine rows can support 90 %, not 95 %."""
    conformal = calibrate(np.zeros(9), np.ones(9), np.ones(9))
    assert conformal.half_width([2.0], 0.9)[0] == 2.0
    assert conformal.half_width([2.0], 0.95)[0] == np.inf


@pytest.mark.parametrize(
    ("predicted", "truth", "spread", "reason"),
    [
        ([], [], [], "not empty"),
        ([1.0], [1.0, 2.0], [1.0], "equally long"),
        ([1.0], [np.nan], [1.0], "finite"),
        ([1.0], [1.0], [0.0], "above 0"),
    ],
)
def test_rows_that_cannot_calibrate_are_refused(
    predicted: list[float], truth: list[float], spread: list[float], reason: str
) -> None:
    """Each with its reason."""
    with pytest.raises(ValueError, match=reason):
        calibrate(predicted, truth, spread)


def test_levels_and_tolerances_out_of_range_are_refused() -> None:
    """A level of 1 would take an infinite interval; a tolerance of 0 would take a perfect model."""
    conformal = Conformal(np.array([1.0]))
    with pytest.raises(ValueError, match="level"):
        conformal.half_width([1.0], 1.0)
    with pytest.raises(ValueError, match="tolerance"):
        conformal.confidence([1.0], 0.0)
