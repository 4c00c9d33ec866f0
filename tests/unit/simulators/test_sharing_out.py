"""Tests shared out to processes: those of whole programs stay together."""

import pytest

from tests.simulators.sharing_out import PROGRAMS, scope_of


@pytest.mark.parametrize("name", ["tests/chaos/test_x.py::test_y[a]", "tests/integration/test_z.py::test_y"])
def test_tests_of_whole_programs_are_handed_out_together(name: str) -> None:
    """Two programs' tests at once would starve each other."""
    assert scope_of(name) == PROGRAMS


def test_any_other_test_is_handed_out_by_itself() -> None:
    """Whoever is free takes it."""
    assert scope_of("tests/unit/test_x.py::test_y[a]") == "tests/unit/test_x.py::test_y[a]"
