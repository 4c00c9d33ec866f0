"""Forecasts of how many more cases would do."""

import pytest

from model_packs.certificate import binomial
from model_packs.certificate.evidence import Clusters
from model_packs.certificate.forecasting import more_clusters, more_rows


@pytest.mark.parametrize(("n_kept", "k_errors"), [(60, 0), (100, 2), (100, 4), (600, 20)])
def test_the_forecast_is_the_fewest_rows_of_the_same_kind(n_kept: int, k_errors: int) -> None:
    """With the rows asked for the test rejects, at the same shares."""
    n_rows = 2 * n_kept
    more = more_rows(n_kept, k_errors, n_rows, target=0.05, delta=0.01)

    assert more is not None
    later = (n_rows + more) // 2
    assert binomial.lower_tail(-(-k_errors * later // n_kept), later, 0.05) <= 0.01
    assert binomial.lower_tail(-(-k_errors * (later - 1) // n_kept), later - 1, 0.05) > 0.01


@pytest.mark.parametrize(("n_kept", "k_errors"), [(0, 0), (100, 5), (100, 50), (1_000_000, 49_999)])
def test_where_no_number_would_do_there_is_none(n_kept: int, k_errors: int) -> None:
    """Nothing kept, as many wrong as allowed, or so near it that a million rows would not show it."""
    assert more_rows(n_kept, k_errors, max(n_kept, 100), target=0.05, delta=0.05) is None


def test_clusters_without_an_error_are_forecast_too() -> None:
    """At 5 % and 0.05 one bet needs 59 clean clusters, so 29 are missing of 30."""
    assert more_clusters(Clusters(((4, 0, 30),), 4, (1.0,)), 30, target=0.05, delta=0.05) == 29
    assert (
        more_clusters(Clusters(((4, 0, 30),), 4, (0.5, 1.0)), 30, target=0.05, delta=0.05) == 42
    )  # half a capital each
    assert more_clusters(Clusters(((4, 4, 30),), 4, (1.0,)), 30, target=0.05, delta=0.05) is None
