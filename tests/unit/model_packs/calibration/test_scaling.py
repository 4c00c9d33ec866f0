"""Vector scaling, and which scaling is accepted."""

import numpy as np
import pytest
from numpy.typing import NDArray

from model_packs.calibration.scaling import (
    MAX_VECTOR_CLASSES,
    Candidate,
    VectorScaling,
    accept_scaling,
    chosen,
    fit_vector_scaling,
)
from model_packs.calibration.temperature import negative_log_likelihood, softmax

Rows = tuple[NDArray[np.float64], NDArray[np.intp]]


def drawn(n_rows: int, seed: int, scale: list[float], offset: list[float]) -> Rows:
    """Logits, and labels drawn from what they say after a scaling."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0.0, 2.0, (n_rows, len(scale)))
    chances = softmax(VectorScaling(tuple(scale), tuple(offset)).apply(logits))
    labels = (generator.random((n_rows, 1)) < chances.cumsum(axis=1)).argmax(axis=1)
    return logits, labels.astype(np.intp)


def test_a_scaling_by_class_is_found_again() -> None:
    """Rows drawn with known scales and offsets give them back (an offset that all classes share is free)."""
    scale, offset = [0.5, 1.5, 1.0], [1.0, -1.0, 0.0]
    found = fit_vector_scaling(*drawn(20_000, 1, scale, offset))
    assert found.scale == pytest.approx(scale, abs=0.06)
    assert np.array(found.offset) - found.offset[2] == pytest.approx(offset, abs=0.06)


def test_what_all_classes_share_changes_nothing() -> None:
    """A number added to all logits of a row leaves the probabilities as they are, as with a plain softmax."""
    scaling = VectorScaling((0.5, 1.5, 1.0), (1.0, -1.0, 0.0))
    logits, _ = drawn(5, 2, [1.0] * 3, [0.0] * 3)
    assert softmax(scaling.apply(logits + 7.0)) == pytest.approx(softmax(scaling.apply(logits)))


def test_the_fit_is_no_worse_than_the_temperature_on_its_own_rows() -> None:
    """It starts there and only goes down."""
    logits, labels = drawn(300, 3, [0.7, 0.7, 0.9, 0.5], [0.2, 0.0, 0.0, -0.3])
    accepted = accept_scaling((logits, labels), (logits, labels))
    by_kind = {candidate.kind: candidate.nll for candidate in accepted.candidates}
    assert by_kind["vector"] <= by_kind["temperature"] <= by_kind["none"]
    assert by_kind["vector"] == pytest.approx(
        negative_log_likelihood(fit_vector_scaling(logits, labels).apply(logits), labels)
    )


def test_classes_that_are_off_by_themselves_get_vector_scaling() -> None:
    """Where one temperature cannot mend it, the vector is accepted, on rows that it has not seen."""
    scale, offset = [0.3, 2.0, 1.0], [2.0, -2.0, 0.0]
    accepted = accept_scaling(drawn(4000, 4, scale, offset), drawn(4000, 5, scale, offset))
    assert accepted.kind == "vector"
    assert accepted.vector is not None
    assert accepted.temperature == 1.0


def test_logits_that_are_only_too_sure_get_a_temperature() -> None:
    """With few rows to fit on, the vector learns noise, and the temperature is the better of both."""
    accepted = accept_scaling(drawn(60, 6, [0.4] * 8, [0.0] * 8), drawn(4000, 7, [0.4] * 8, [0.0] * 8))
    assert accepted.kind == "temperature"
    assert accepted.temperature == pytest.approx(2.5, rel=0.4)
    assert accepted.vector is None


def test_nothing_is_accepted_that_does_not_help_on_other_rows() -> None:
    """A fit on rows of another kind is thrown away: temperature 1, no vector, and the evidence stays."""
    accepted = accept_scaling(drawn(500, 8, [3.0] * 3, [0.0] * 3), drawn(4000, 9, [1.0] * 3, [0.0] * 3))
    assert (accepted.kind, accepted.temperature, accepted.vector) == ("none", 1.0, None)
    assert [candidate.kind for candidate in accepted.candidates] == ["none", "temperature", "vector"]


@pytest.mark.parametrize("n_rows", [2, 400])
def test_rows_without_an_error_accept_nothing(n_rows: int) -> None:
    """They would make the network surer without end, however few they are; one half is enough to say so."""
    logits, labels = drawn(n_rows, 11, [1.0] * 3, [0.0] * 3)
    right = logits, logits.argmax(axis=1)
    wrong = logits, (logits.argmax(axis=1) + 1) % 3
    assert accept_scaling(right, right).kind == "none"
    assert accept_scaling(right, (logits, labels)).kind == "none"
    assert accept_scaling((logits, labels), right).kind == "none"
    assert accept_scaling(wrong, wrong).kind != "none"


@pytest.mark.parametrize(
    ("temperature", "vector", "kind"),
    [
        ((0.9, 0.05), (0.8, 0.05), "vector"),
        ((0.8, 0.05), (0.9, 0.05), "temperature"),
        ((0.9, 0.05), (0.8, 0.11), "temperature"),
        ((0.9, 0.11), (0.8, 0.11), "none"),
        ((1.1, 0.01), (1.0, 0.01), "none"),
        ((0.9, 0.1), (1.1, 0.0), "temperature"),
    ],
)
def test_a_scaling_must_be_likelier_and_no_less_honest(
    temperature: tuple[float, float], vector: tuple[float, float], kind: str
) -> None:
    """Against a likelihood of 1.0 and an error of 0.1: neither alone is enough; the likeliest of the rest is used."""
    candidates = (Candidate("none", 1.0, 0.1), Candidate("temperature", *temperature), Candidate("vector", *vector))
    assert chosen(candidates).kind == kind


def test_many_classes_are_not_tried() -> None:
    """Beyond the limit only the temperature is judged; asked for directly, the vector is refused."""
    n_classes = MAX_VECTOR_CLASSES + 1
    rows = drawn(50, 10, [1.0] * n_classes, [0.0] * n_classes)
    assert [candidate.kind for candidate in accept_scaling(rows, rows).candidates] == ["none", "temperature"]
    with pytest.raises(ValueError, match=f"at most {MAX_VECTOR_CLASSES} classes"):
        fit_vector_scaling(*rows)
    with pytest.raises(ValueError, match="logits of 2 classes, but a scaling for 3"):
        VectorScaling((1.0,) * 3, (0.0,) * 3).apply(np.zeros((1, 2)))
