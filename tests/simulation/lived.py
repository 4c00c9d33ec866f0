"""Owns counting the histories that were lived: in a test, and over a run, in whichever process its tests ran."""

from collections.abc import Iterable
from typing import Final

import pytest

PROPERTY: Final = "histories lived"
"""The property of a test's report that says how many."""


class LivedHistories:
    """How many were lived."""

    def __init__(self) -> None:
        self.total = 0

    def count(self, *histories: object) -> None:
        """Some more."""
        self.total += len(histories)


def total_of(reports: Iterable[pytest.TestReport]) -> int:
    """How many the tests of these reports lived together."""
    return sum(int(str(value)) for report in reports for name, value in report.user_properties if name == PROPERTY)
