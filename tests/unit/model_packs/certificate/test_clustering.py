"""The design effect of clustered outcomes."""

import numpy as np
import pytest

from model_packs.certificate.clustering import design_effect


def test_independent_outcomes_have_a_design_effect_of_about_one() -> None:
    """Clusters that mean nothing change nothing."""
    rng = np.random.default_rng(7)

    assert design_effect(rng.random(20_000) < 0.1, np.arange(20_000) % 2000) == pytest.approx(1.0, abs=0.1)


def test_equal_outcomes_inside_clusters_count_once() -> None:
    """When a cluster's rows always agree, n rows carry as much as there are clusters."""
    outcomes = np.repeat(np.arange(500) % 5 == 0, 8)

    assert design_effect(outcomes, np.repeat(np.arange(500), 8)) == pytest.approx(8.0, rel=0.01)


@pytest.mark.parametrize(
    ("outcomes", "clusters"), [([], []), ([True, False], [1, 1]), ([True, True], [1, 2]), ([False, False], [1, 2])]
)
def test_what_cannot_be_measured_is_none(outcomes: list[bool], clusters: list[int]) -> None:
    """No rows, one cluster, or equal outcomes give no figure rather than a wrong one."""
    assert design_effect(outcomes, clusters) is None


def test_arrays_of_different_lengths_are_refused() -> None:
    """Each outcome needs its cluster."""
    with pytest.raises(ValueError, match="equally long"):
        design_effect([True, False], [1])
