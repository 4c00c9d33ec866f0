"""The one polling wait returns the fact or says what was missing."""

import pytest

from tests.simulators.waiting import wait_until


def test_the_first_true_value_is_returned() -> None:
    """Falsy values are asked again; the first other one comes back."""
    values = iter([None, 0, "", "there"])
    assert wait_until(lambda: next(values), 5.0, "a value") == "there"


def test_a_missed_deadline_names_the_fact() -> None:
    """The failure says what did not come true, and what was seen last."""
    with pytest.raises(AssertionError, match=r"not within 0 s: the fact \(last value: 0\)"):
        wait_until(lambda: 0, 0.0, "the fact")
