"""The confidence of an image in which boxes are looked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_packs.calibration.detection import DetectionScore, fit_nothing_found

SCORE = DetectionScore(kept_at=0.4, nothing_found=0.8)


def test_an_image_is_as_sure_as_its_weakest_kept_box() -> None:
    """Boxes that are not kept do not count when others are."""
    assert SCORE.confidence([0.99, 0.45, 0.2]) == 0.45


def test_nothing_found_has_a_confidence_of_its_own() -> None:
    """And a box that was nearly kept speaks against it."""
    assert SCORE.confidence([]) == 0.8
    assert SCORE.confidence([0.05]) == 0.8
    assert SCORE.confidence([0.39]) == pytest.approx(0.61)


def test_nothing_found_is_hard_unless_images_have_taught_otherwise() -> None:
    """Without calibration an empty answer always asks."""
    assert DetectionScore(kept_at=0.4).confidence([]) == 0.0


@given(st.lists(st.floats(0.0, 1.0), max_size=8))
def test_the_confidence_lies_between_nought_and_one(boxes: list[float]) -> None:
    """Whatever the boxes."""
    assert 0.0 <= SCORE.confidence(boxes) <= 1.0


def test_few_images_claim_little() -> None:
    """None teach one half, one right image two thirds, 98 right of 98 teach 0.99."""
    assert fit_nothing_found([]) == 0.5
    assert fit_nothing_found([True]) == pytest.approx(2 / 3)
    assert fit_nothing_found([True] * 98) == pytest.approx(0.99)


@pytest.mark.parametrize("score", [1.5, -0.1, float("nan")])
def test_scores_out_of_range_are_refused(score: float) -> None:
    """They would make an image look sure."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        SCORE.confidence([0.9, score])
