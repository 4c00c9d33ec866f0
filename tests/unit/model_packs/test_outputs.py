"""Tagged outputs as they travel in events and verdicts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_packs.errors import OutputError
from model_packs.outputs import Classification, from_json

LABELS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), min_size=1, max_size=20)


@given(st.dictionaries(LABELS, st.floats(0, 1), min_size=1, max_size=8))
def test_a_classification_survives_the_round_trip(scores: dict[str, float]) -> None:
    """Through JSON text and back it is the same value."""
    output = Classification(next(iter(scores)), scores)
    assert from_json(json.loads(json.dumps(output.to_json()))) == output


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "output: must be an object"),
        ({"task": "poetry"}, "output.task: must be one of classification"),
        ({"task": "classification", "label": "a"}, "output.scores: must be an object"),
        ({"task": "classification", "label": "a", "scores": {"b": 1.0}}, "'a' has no score"),
        ({"task": "classification", "label": "a", "scores": {"a": 2}}, "output.scores.a: must be a number from 0"),
        ({"task": "classification", "label": "a", "scores": {"a": True}}, "output.scores.a: must be a number"),
        ({"task": "classification", "label": "a", "scores": {"a": 1}, "extra": 1}, "output.extra: unknown key"),
    ],
)
def test_what_is_no_output_is_refused(document: Any, message: str) -> None:  # noqa: ANN401 - any JSON may arrive
    """Each broken field is named."""
    with pytest.raises(OutputError, match=message):
        from_json(document)
