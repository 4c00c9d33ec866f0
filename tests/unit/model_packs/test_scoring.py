"""From logits to an answer with a confidence."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from model_packs.answers import NON_FINITE
from model_packs.calibration.deferral import FEATURES, Deferral, confidence
from model_packs.calibration.scores import certainty, margin
from model_packs.calibration.temperature import softmax
from model_packs.errors import TensorError
from model_packs.manifest import PackManifest, ScoreSpec
from model_packs.outputs import Classification
from model_packs.scoring import ESCALATE_OUTPUT_RANGE, score
from tests.unit.model_packs.test_manifest import MANIFEST
from tests.unit.model_packs.test_manifest_scores import LEARNED, MARGIN, OWN_OUTPUT, SCALED

LOGITS = npst.arrays(np.float32, st.tuples(st.integers(0, 6), st.just(2)), elements=st.floats(width=32))


@given(LOGITS)
def test_every_row_is_scored_or_named_unscorable(logits: NDArray[np.float32]) -> None:
    """Finite rows give a label and a probability of at least 1/labels; others give confidence 0; none warns."""
    scored = score(MANIFEST, {"logits": logits})
    assert len(scored) == len(logits)
    for row, answer in zip(logits, scored, strict=True):
        if np.isfinite(row).all():
            assert isinstance(answer.output, Classification)
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


@pytest.mark.parametrize("n_labels", [2, 3, 7, 8, 9, 17, 128, 129, 300])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("temperature", [1.0, 0.37, 1e-300])
def test_a_row_alone_is_answered_bit_for_bit_as_among_others(
    n_labels: int, dtype: type[np.floating[Any]], temperature: float
) -> None:
    """One row takes a quicker way: label, every probability and the confidence are those that a batch gives it."""
    manifest = replace(MANIFEST, labels=tuple(map(str, range(n_labels))), temperature=temperature)
    rows = (np.random.default_rng(n_labels).normal(size=(40, n_labels)) * 9).astype(dtype)
    rows[1, 0] = np.nan
    rows[2, 1] = np.inf
    rows[3, 1] = -np.inf
    rows[4, :2] = np.inf, -np.inf
    rows[5] = 0.5
    if dtype is np.float64:
        rows[6, 0], rows[7, :2] = 1e300, (1e308, -1e308)
    together = score(manifest, {"logits": rows})
    alone = [score(manifest, {"logits": row[np.newaxis]})[0] for row in rows]
    for one, other in zip(alone, together, strict=True):
        assert repr(one) == repr(other)  # repr tells every bit of a double, and the order of the scores


def test_the_scores_of_many_labels_are_read_like_those_of_few() -> None:
    """They are listed when somebody asks: by label, in order, as a dict, all the same."""
    manifest = replace(MANIFEST, labels=tuple(map(str, range(40))))
    rows = np.random.default_rng(40).normal(size=(2, 40)).astype(np.float32)
    listed, (later,) = score(manifest, {"logits": rows})[0], score(manifest, {"logits": rows[:1]})
    assert isinstance(listed.output, Classification)
    assert isinstance(later.output, Classification)
    assert later == listed
    scores = later.output.scores
    assert (dict(scores), list(scores), len(scores)) == (listed.output.scores, list(manifest.labels), 40)
    assert list(scores.items()) == list(listed.output.scores.items())
    assert (scores["7"], "none" in scores) == (listed.output.scores["7"], False)


def test_a_double_that_a_scaling_would_overflow_is_unscorable_and_its_batch_is_not() -> None:
    """One row of a float64 output near the end of its range fails by itself; nothing is raised, nothing warns."""
    broken, fine = score(SCALED, {"logits": np.array([[1e308, -1e308], [0.0, 1.0]])})
    assert (broken.output, broken.unscorable) == (None, NON_FINITE)
    assert isinstance(fine.output, Classification)


def test_the_temperature_softens_the_confidence() -> None:
    """At temperature 1.5 a gap of 3 logits gives 1 / (1 + exp(-2))."""
    (answer,) = score(MANIFEST, {"logits": np.array([[0.0, 3.0]], np.float32)})
    assert answer.confidence == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert isinstance(answer.output, Classification)
    assert list(answer.output.scores) == ["idle", "walk"]


@pytest.mark.parametrize("outputs", [{}, {"logits": np.zeros((1, 3), np.float32)}, {"logits": np.zeros(2, np.float32)}])
def test_an_engine_that_returns_something_else_is_an_error(outputs: dict[str, NDArray[np.float32]]) -> None:
    """Missing logits and wrong shapes are no answers."""
    with pytest.raises(TensorError, match="'logits' must be"):
        score(MANIFEST, outputs)


ENTROPY = replace(MANIFEST, score=ScoreSpec("entropy"))


@pytest.mark.parametrize("manifest", [MARGIN, ENTROPY, LEARNED])
@given(logits=LOGITS)
def test_a_declared_score_is_the_confidence(manifest: PackManifest, logits: NDArray[np.float32]) -> None:
    """Margin, entropy and deferral of the probabilities, from 0 to 1; the answer and its scores stay as they were."""
    plain = score(MANIFEST, {"logits": logits})
    for answer, before in zip(score(manifest, {"logits": logits}), plain, strict=True):
        assert (answer.output, answer.unscorable) == (before.output, before.unscorable)
        if not isinstance(before.output, Classification):
            assert answer.confidence == 0.0
            continue
        table = np.array([list(before.output.scores.values())])
        expected = {
            "margin": margin(table),
            "entropy": certainty(table),
            "deferral": confidence(Deferral(dict.fromkeys(FEATURES, 0.5), -1.0), table),
        }[manifest.score_kind]
        assert answer.confidence == pytest.approx(expected[0], abs=1e-9)
        assert 0.0 <= answer.confidence <= 1.0


def test_the_model_s_own_word_is_the_confidence() -> None:
    """One minus what it says of asking; what is no probability makes the row hard, by name, and no other row."""
    logits = np.array([[0.0, 3.0]] * 5 + [[np.nan, 0.0]], np.float32)
    asks = np.array([[0.25], [0.0], [1.0], [1.5], [np.nan], [0.5]], np.float32)
    for said in (asks, asks[:, 0]):
        scored = score(OWN_OUTPUT, {"logits": logits, "ask": said})
        assert [answer.confidence for answer in scored] == [0.75, 1.0, 0.0, 0.0, 0.0, 0.0]
        assert [answer.unscorable for answer in scored] == [None] * 3 + [ESCALATE_OUTPUT_RANGE] * 2 + [NON_FINITE]
        assert [answer.output is None for answer in scored] == [False] * 3 + [True] * 3


@pytest.mark.parametrize("asks", [{}, {"ask": np.zeros((1, 2), np.float32)}, {"ask": np.zeros(2, np.float32)}])
def test_a_model_that_does_not_say_what_was_declared_is_an_error(asks: dict[str, NDArray[np.float32]]) -> None:
    """A missing or misshaped escalate output is no answer."""
    with pytest.raises(TensorError, match=r"'ask' must be \[1\] or \[1, 1\]"):
        score(OWN_OUTPUT, {"logits": np.zeros((1, 2), np.float32), **asks})


def test_the_scaling_by_class_comes_before_the_answer() -> None:
    """It may change which label is the largest, and the temperature divides what it gives."""
    (answer,) = score(SCALED, {"logits": np.array([[1.0, 1.5]], np.float32)})
    scaled = np.array([[-0.25 * 0.5, 0.25 * 2.0 - 1.0]])
    assert isinstance(answer.output, Classification)
    assert answer.output.label == "idle"
    assert list(answer.output.scores.values()) == pytest.approx(softmax(scaled, MANIFEST.temperature)[0].tolist())
