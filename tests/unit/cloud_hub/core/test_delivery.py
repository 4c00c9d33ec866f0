"""Items are applied once, whatever comes again."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.core.delivery import (
    AlreadyApplied,
    Apply,
    Conflict,
    Delivery,
    PlaceTaken,
    Question,
    asked_again,
    decide,
    ranges,
)
from protos.messages.escalation import PredictionId

ASKED = Question(PredictionId("p"), "sha256:a")


@pytest.mark.parametrize(
    ("at_key", "digest", "expected"),
    [
        (None, None, Apply()),
        (ASKED, ASKED.input_digest, AlreadyApplied(is_new_key=False)),
        (None, ASKED.input_digest, AlreadyApplied(is_new_key=True)),
    ],
)
def test_new_items_are_applied_and_known_ones_are_not(
    at_key: Question | None, digest: str | None, expected: Delivery
) -> None:
    """A known place or a known question is acknowledged without asking again."""
    assert decide(ASKED, at_key=at_key, digest_of_prediction=digest) == expected


@pytest.mark.parametrize(
    ("at_key", "digest", "named"),
    [
        (Question(PredictionId("q"), "sha256:a"), None, "q"),
        (Question(PredictionId("p"), "sha256:b"), "sha256:b", "sha256:b"),
    ],
)
def test_a_place_with_another_question_is_taken(at_key: Question, digest: str | None, named: str) -> None:
    """It is never applied there, whatever is known of the prediction; what stands there is named."""
    decision = decide(ASKED, at_key=at_key, digest_of_prediction=digest)
    assert isinstance(decision, PlaceTaken)
    assert named in decision.reason


def test_a_prediction_with_another_input_is_a_conflict() -> None:
    """It is never applied, from whatever place it comes; the input that is known is named."""
    decision = decide(ASKED, at_key=None, digest_of_prediction="sha256:b")
    assert isinstance(decision, Conflict)
    assert "sha256:b" in decision.reason


@given(st.lists(st.integers(0, 50)))
def test_ranges_cover_exactly_the_numbers(seqs: Sequence[int]) -> None:
    """Ranges are ascending, apart from each other, and hold each number and no other."""
    found = ranges(seqs)
    assert [seq for first, last in found for seq in range(first, last + 1)] == sorted(set(seqs))
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found))


def test_only_known_questions_from_a_new_place_are_asked_again() -> None:
    """A lost ack and a conflict are not."""
    decided: list[Delivery] = [
        Apply(),
        AlreadyApplied(is_new_key=False),
        AlreadyApplied(is_new_key=True),
        Conflict("other input"),
        PlaceTaken("another question"),
    ]
    ids = [PredictionId(f"p{number}") for number in range(len(decided))]
    assert asked_again(zip(ids, decided, strict=True)) == {"p2"}
