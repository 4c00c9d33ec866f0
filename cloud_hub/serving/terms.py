"""Owns turning the hub's settings into the terms that the serving core works by."""

from collections.abc import Mapping
from dataclasses import dataclass

from cloud_hub.config import HubConfig
from cloud_hub.core.serving.admission import Bounds
from cloud_hub.core.serving.fusing import Rule
from cloud_hub.core.serving.routes import Route
from cloud_hub.serving.ensembles import Ensemble
from cloud_hub.serving.loading import LoadingTerms

_MS_PER_S = 1000.0
_COST_ROWS = 10_000
"""Rows of costs between two times of writing; callers beyond are summed up."""


@dataclass(frozen=True, slots=True)
class ServingTerms:
    """How a hub serves; `serving_config.ServingConfig` says what each means.

    Attributes:
        loading: How models are loaded.
        window_s: How long a batch waits for what is on its way.
        keep_up_s: How often to look for newer versions, and to write costs down.
        memory_bytes: What all models may take together; 0: no bound.
        pinned: Packs that stay loaded.
        routes: By name, packs that share it.
        ensembles: By name.
        cached: Names of models whose answers are kept.
        cache_bytes: What kept answers may take.
        cost_rows: Most rows of costs between two times of writing.
    """

    loading: LoadingTerms
    window_s: float
    keep_up_s: float
    memory_bytes: int
    pinned: tuple[str, ...]
    routes: Mapping[str, Route]
    ensembles: Mapping[str, Ensemble]
    cached: tuple[str, ...]
    cache_bytes: int
    cost_rows: int = _COST_ROWS


def serving_terms(config: HubConfig, cores: int) -> ServingTerms:
    """Read the terms.

    Args:
        config: The hub's settings, checked.
        cores: Cores that this process may use.

    Returns:
        The terms.
    """
    serving, inference = config.serving, config.inference
    return ServingTerms(
        loading=LoadingTerms(
            max_batch=inference.max_batch,
            instances=serving.instances,
            cores=cores,
            inline_below_ms=inference.inline_below_ms,
            bounds=Bounds(serving.max_queued, serving.max_queued_per_caller),
        ),
        window_s=serving.window_ms / _MS_PER_S,
        keep_up_s=serving.keep_up_s,
        memory_bytes=serving.memory_bytes,
        pinned=serving.pinned,
        routes={name: Route.of(route.targets) for name, route in serving.routes.items()},
        ensembles={
            name: Ensemble(Rule(one.rule), Route.of(one.members).targets) for name, one in serving.ensembles.items()
        },
        cached=serving.cached,
        cache_bytes=serving.cache_bytes,
    )
