"""Forecasts of how many more cases would do."""

import math

import numpy as np
import pytest

from model_packs.certificate import binomial
from model_packs.certificate.evidence import Clusters
from model_packs.certificate.forecasting import more_clusters, more_rows


def forecast(n_kept: int, k_errors: int, n_rows: int) -> int | None:
    """Rows of which some score high, a few of these wrong, and the rest low; tuning scores like them."""
    scores = np.where(np.arange(n_rows) < n_kept, 0.9, 0.1)
    is_error = (np.arange(n_rows) < k_errors) | (scores < 0.5)
    return more_rows(scores, scores, is_error, target=0.05, delta=0.01)


@pytest.mark.parametrize(("n_kept", "k_errors"), [(60, 0), (300, 4), (1000, 30)])
def test_with_the_rows_asked_for_the_first_test_rejects(n_kept: int, k_errors: int) -> None:
    """At the same shares kept and wrong, half an error added."""
    more = forecast(n_kept, k_errors, 2 * n_kept)

    assert more is not None
    later = (2 * n_kept + more) // 2
    wrong = math.ceil((k_errors + 0.5) / (n_kept + 0.5) * later)
    assert binomial.lower_tail(wrong, later, 0.05) <= 0.01


@pytest.mark.parametrize(
    ("n_kept", "k_errors", "n_rows"), [(29, 0, 100), (100, 5, 200), (100, 50, 200), (2000, 100, 2000)]
)
def test_rows_that_cannot_tell_say_nothing(n_kept: int, k_errors: int, n_rows: int) -> None:
    """Too few that are so sure, as many wrong as allowed, or so near it that a million rows would not show it."""
    assert forecast(n_kept, k_errors, n_rows) is None


def test_clusters_without_an_error_are_forecast_too() -> None:
    """At 5 % and 0.05 one bet needs 59 clean clusters, so 29 are missing of 30."""
    assert more_clusters(Clusters(((4, 0, 30),), 4, (1.0,)), 30, target=0.05, delta=0.05) == 29
    assert (
        more_clusters(Clusters(((4, 0, 30),), 4, (0.5, 1.0)), 30, target=0.05, delta=0.05) == 42
    )  # half a capital each
    assert more_clusters(Clusters(((4, 4, 30),), 4, (1.0,)), 30, target=0.05, delta=0.05) is None
