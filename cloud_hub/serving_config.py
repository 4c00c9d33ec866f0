"""Owns the declarations of `[serving]` in `hub.toml`: what may wait, what is loaded, who answers for a name.

Read by `config.py` with the rest of the file; what the values mean for a part is that part's business.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from cloud_hub.core.serving.routes import Route
from model_packs.process.settings import setting

_MAX_DAYS = 3650
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """Packs that share what comes in under one name."""

    targets: Mapping[str, float] = setting(
        doc="Weight by pack (name@version). The same request key always takes the same pack.",
        example={"motion-band-hub@1.0.0": 9.0, "motion-band-hub@1.1.0": 1.0},
    )

    def validate(self) -> Iterable[tuple[str, str]]:
        """Check what types cannot say."""
        yield from _target_problems("targets", self.targets)


@dataclass(frozen=True, slots=True)
class EnsembleConfig:
    """Several packs that answer as one model."""

    rule: Literal["mean", "weighted", "vote"] = setting(
        doc="How answers become one: their mean, their weighted mean, or the label with most (weighted) votes.",
        example="mean",
    )
    members: Mapping[str, float] = setting(
        doc='Weight by pack (name@version); all must take and give the same. "mean" takes weights as equal.',
        example={"motion-band-hub@1.0.0": 1.0, "motion-band-hub@1.1.0": 1.0},
    )

    def validate(self) -> Iterable[tuple[str, str]]:
        """Check what types cannot say."""
        yield from _target_problems("members", self.members)


@dataclass(frozen=True, slots=True)
class ServingConfig:
    """How requests reach full models."""

    window_ms: float = setting(
        4.0,
        doc="A batch waits for the requests that came together with its own before, at most this long, in milliseconds."
        " One client alone never waits. 0: nobody does.",
    )
    max_queued: int = setting(2048, doc="Windows that may wait for one model; more are refused, with a time to retry.")
    max_queued_per_caller: int = setting(512, doc="Requests of one caller that may wait for one model.")
    instances: int = setting(
        0, doc="Runs of one model at the same time. 0: as many as the threads of one run leave cores for."
    )
    memory_bytes: int = setting(
        0, doc="What the graphs of loaded models may take together; the least recently used leaves. 0: no bound."
    )
    pinned: tuple[str, ...] = setting((), doc="Packs (name, or name@version) that stay loaded.", example=[])
    keep_up_s: float = setting(5.0, doc="How often to look for newer versions, and to write costs down, in seconds.")
    cached: tuple[str, ...] = setting(
        (), doc="Names of packs whose answers are kept and given again for equal inputs.", example=[]
    )
    cache_bytes: int = setting(64 * _MIB, doc="What kept answers may take in this process.")
    redis_url: str = setting(
        "", doc="Redis that shares them among hubs (redis://HOST:PORT/DB; extra `redis`). Empty: this process only."
    )
    cost_days: int = setting(90, doc="How long it is kept what requests cost by caller, in days.")
    max_cost_rows: int = setting(100_000, doc="Rows of that at most (one a day, caller and pack); the oldest go first.")
    routes: Mapping[str, RouteConfig] = setting(dict, doc="A name for several packs that share what comes in.")
    ensembles: Mapping[str, EnsembleConfig] = setting(dict, doc="A name for several packs that answer together.")

    def validate(self) -> Iterable[tuple[str, str]]:
        """Check what types cannot say."""
        for key in ("window_ms", "instances", "memory_bytes", "cache_bytes"):
            if getattr(self, key) < 0:
                yield key, "expected 0 or more"
        for key in ("max_queued", "max_queued_per_caller", "max_cost_rows"):
            if getattr(self, key) < 1:
                yield key, "expected at least 1"
        if self.keep_up_s <= 0:
            yield "keep_up_s", "expected more than 0"
        if not 1 <= self.cost_days <= _MAX_DAYS:
            yield "cost_days", f"expected 1 to {_MAX_DAYS}"
        if self.redis_url and not self.redis_url.startswith(("redis://", "rediss://", "unix://")):
            yield "redis_url", 'expected a URL such as "redis://127.0.0.1:6379/0"'
        for name in sorted(self.routes.keys() & self.ensembles.keys()):
            yield f"ensembles.{name}", "the same as a route's name: give it another"
        for name in sorted(self.ensembles.keys() & set(self.cached)):
            yield "cached", f'"{name}" is an ensemble: answers are kept of packs'


def _target_problems(key: str, targets: Mapping[str, float]) -> Iterable[tuple[str, str]]:
    try:
        Route.of(targets)
    except ValueError as error:
        yield key, str(error)
