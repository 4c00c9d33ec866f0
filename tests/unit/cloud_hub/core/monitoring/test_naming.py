"""The five drifts have one name each, and each combination of alarms has exactly one of them or none."""

from itertools import product

import pytest

from cloud_hub.core.monitoring.naming import Drift, Signs, name_of


@pytest.mark.parametrize(
    ("signs", "name"),
    [
        (Signs(), None),
        (Signs(kept_fails=True), Drift.SILENT_FAILURE),
        (Signs(kept_fails=True, escalates_more=True), Drift.SILENT_FAILURE),
        (Signs(kept_fails=True, escalates_less=True), Drift.SILENT_FAILURE_SURER),
        (Signs(kept_fails=True, escalates_less=True, escalates_more=True), Drift.SILENT_FAILURE),
        (Signs(escalates_more=True, inputs_moved=True), Drift.ESCALATION_STORM),
        (Signs(inputs_moved=True), Drift.BENIGN),
        (Signs(escalates_less=True), Drift.BENIGN),
    ],
)
def test_what_stands_has_a_name(signs: Signs, name: Drift | None) -> None:
    """By what is kept, and by the direction of the escalation rate."""
    assert name_of(signs) is name


def test_a_hub_that_fails_comes_before_all_else() -> None:
    """What it says of the edge is worth nothing then."""
    for flags in product((False, True), repeat=4):
        kept, more, less, moved = flags
        signs = Signs(kept_fails=kept, hub_fails=True, escalates_more=more, escalates_less=less, inputs_moved=moved)
        assert name_of(signs) is Drift.HUB_FAILS_TOO
