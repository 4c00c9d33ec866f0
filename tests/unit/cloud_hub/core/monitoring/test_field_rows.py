"""Which windows a new certificate rests on is decided before anyone looks at their outcomes."""

import pytest

from cloud_hub.core.monitoring.field_rows import NS_PER_DAY, FieldRow, in_edge_words, judged_rows
from cloud_hub.core.monitoring.watch import Measure


def row(**changes: object) -> FieldRow:
    """A window on which all agree, chosen for people."""
    facts: dict[str, object] = {
        "prediction_id": "p",
        "at_ns": 3 * NS_PER_DAY + 5,
        "propensity": 0.1,
        "confidence": 0.9,
        "edge": "a",
        "hub": "a",
        "human": "a",
        "is_for_people": True,
    }
    return FieldRow(**{**facts, **changes})  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    ("risk", "hub", "human", "is_right"),
    [
        (Measure.ERROR, "b", "b", False),
        (Measure.ERROR, "b", "a", True),
        (Measure.EXCESS, "b", "b", False),
        (Measure.EXCESS, "a", "b", True),
        (Measure.EXCESS, "b", "a", True),
        (Measure.DISAGREEMENT, "b", "a", False),
        (Measure.DISAGREEMENT, "a", None, True),
    ],
)
def test_what_is_right_depends_on_the_risk(risk: Measure, hub: str, human: str | None, is_right: bool) -> None:  # noqa: FBT001 - a table of truths
    """Error by people, disagreement by the hub, excess by both."""
    found = judged_rows([row(hub=hub, human=human)], risk)
    assert found.is_right.tolist() == [is_right]
    assert (found.confidence.tolist(), found.inclusion.tolist(), found.day.tolist()) == ([0.9], [0.1], [3])


def test_people_s_own_picks_are_left_out_and_nothing_else() -> None:
    """Under disagreement the hub has looked at all; what the edge could not score was never kept."""
    rows = [row(prediction_id="x", is_for_people=False), row(edge=None), row(propensity=0.0), row()]
    assert judged_rows(rows, Measure.ERROR).ids == ("p",)
    assert judged_rows(rows, Measure.DISAGREEMENT).ids == ("x", "p")


@pytest.mark.parametrize(
    ("risk", "changes"),
    [
        (Measure.ERROR, {"human": None}),
        (Measure.EXCESS, {"human": None}),
        (Measure.EXCESS, {"hub": None}),
        (Measure.DISAGREEMENT, {"hub": None}),
    ],
)
def test_what_should_have_been_judged_and_was_not_is_a_loss(risk: Measure, changes: dict[str, object]) -> None:
    """And is counted, so that people see it."""
    found = judged_rows([row(**changes), row()], risk)
    assert (found.is_right.tolist(), found.n_missing) == ([False, True], 1)


@pytest.mark.parametrize(
    ("edge", "hub", "human", "agrees", "told"),
    [
        ("a", "b", "b", False, ("b", "b")),
        ("a", "a", None, True, ("a", None)),
        ("1 nut [1]", "1 nut [2]", "1 nut [2]", True, ("1 nut [1]", "1 nut [1]")),
        ("1 nut [1]", "1 nut [2]", "nothing found", True, ("1 nut [1]", "nothing found")),
        ("raw", "raw", "b", None, (None, "b")),
        (None, "b", "b", None, ("b", "b")),
    ],
)
def test_what_means_the_same_is_compared_in_the_edges_words(
    edge: str | None,
    hub: str | None,
    human: str | None,
    agrees: bool | None,  # noqa: FBT001 - a table of truths
    told: tuple[str | None, str | None],
) -> None:
    """Numbers and boxes are told anew by each tier; where nobody can compare, the hub said nothing."""
    assert in_edge_words(edge, hub, human, agrees=agrees) == told
