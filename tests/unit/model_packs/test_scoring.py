"""From logits to an answer with a confidence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from model_packs.errors import TensorError
from model_packs.scoring import score
from tests.unit.model_packs.test_manifest import MANIFEST

LOGITS = npst.arrays(np.float32, st.tuples(st.integers(0, 6), st.just(2)), elements=st.floats(width=32))


@given(LOGITS)
def test_every_row_is_scored_or_named_unscorable(logits: NDArray[np.float32]) -> None:
    """Finite rows give a label and a probability of at least 1/labels; others give confidence 0; none warns."""
    scored = score(MANIFEST, {"logits": logits})
    assert len(scored) == len(logits)
    for row, answer in zip(logits, scored, strict=True):
        if np.isfinite(row).all():
            assert answer.output is not None
            assert answer.unscorable is None
            assert answer.confidence == answer.output.scores[answer.output.label] >= 0.5
            assert sum(answer.output.scores.values()) == pytest.approx(1.0)
            assert (
                answer.output.label == MANIFEST.labels[int(row.argmax())]
                or row[0] == row[1]
                or answer.confidence == 0.5
            )
        else:
            assert (answer.output, answer.confidence, answer.unscorable) == (None, 0.0, "non_finite")


def test_the_temperature_softens_the_confidence() -> None:
    """At temperature 1.5 a gap of 3 logits gives 1 / (1 + exp(-2))."""
    (answer,) = score(MANIFEST, {"logits": np.array([[0.0, 3.0]], np.float32)})
    assert answer.confidence == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert answer.output is not None
    assert list(answer.output.scores) == ["idle", "walk"]


@pytest.mark.parametrize("outputs", [{}, {"logits": np.zeros((1, 3), np.float32)}, {"logits": np.zeros(2, np.float32)}])
def test_an_engine_that_returns_something_else_is_an_error(outputs: dict[str, NDArray[np.float32]]) -> None:
    """Missing logits and wrong shapes are no answers."""
    with pytest.raises(TensorError, match="'logits' must be"):
        score(MANIFEST, outputs)
