"""How much less than independent windows the measured ones are worth.

Owns the design effect of clustered outcomes (Kish 1965, "Survey Sampling", chapter 5): neighbouring windows of one
recording succeed and fail together, so n of them carry as much as n / design effect independent ones.
"""

import numpy as np
from numpy.typing import ArrayLike


def design_effect(outcomes: ArrayLike, clusters: ArrayLike) -> float | None:
    """The variance of the mean outcome with clusters, over the variance if all outcomes were independent.

    With e_c outcomes in cluster c of n_c rows, n rows in m clusters and mean p, the clustered variance is
    m / (m - 1) * sum_c (e_c - p n_c)^2 / n^2 (the ratio estimator's), the independent one p (1 - p) / n.

    Args:
        outcomes: bool [rows].
        clusters: int [rows], the cluster of each row.

    Returns:
        At least 0; about 1 for independent rows; None when it cannot be measured: fewer than two clusters, or all
        outcomes equal.

    Raises:
        ValueError: Arrays of different lengths.
    """
    values = np.asarray(outcomes, dtype=np.float64)
    names = np.asarray(clusters)
    if values.ndim != 1 or values.shape != names.shape:
        raise ValueError(f"outcomes {values.shape} and clusters {names.shape} must be equally long lists")
    _, place = np.unique(names, return_inverse=True)
    n_clusters = int(place.max()) + 1 if len(place) else 0
    mean = float(values.mean()) if len(values) else 0.0
    if n_clusters <= 1 or mean in {0.0, 1.0}:
        return None
    surplus = np.bincount(place, weights=values - mean)
    clustered = n_clusters / (n_clusters - 1) * float((surplus**2).sum()) / len(values) ** 2
    independent = mean * (1.0 - mean) / len(values)
    return clustered / independent
