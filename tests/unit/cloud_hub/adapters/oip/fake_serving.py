"""Owns a serving core for tests of what stands in front of it: it answers, refuses or waits as it is told."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud_hub.errors import HubError
from cloud_hub.serving.errors import ModelUnknownError
from cloud_hub.serving.interface import (
    Ask,
    Inferred,
    ModelDescription,
    ModelEntry,
    ModelState,
    ModelStatistics,
    Spent,
)
from model_packs.manifest import PackManifest
from model_packs.outputs import Classification
from model_packs.scoring import Scored


@dataclass
class FakeServing:
    """Fills `InferenceServing`.

    Attributes:
        description: The one model.
        failure: Raised by every inference.
        is_stuck: An inference waits until it is cancelled.
        is_quick: What comes together is answered now.
        calls: What `infer` was given beside the inputs.
        waves: How many `infer_now` was asked for together, each time.
        began: Set when an inference begins.
        was_cancelled: Set when one was cancelled.
        changes: Loads and unloads.
    """

    description: ModelDescription
    failure: HubError | None = None
    is_stuck: bool = False
    is_quick: bool = False
    calls: list[dict[str, Any]] = field(default_factory=list)
    waves: list[int] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    was_cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(cls, manifest: PackManifest) -> "FakeServing":
        """Serve a pack under its own name."""
        ref = manifest.ref
        return cls(ModelDescription(ref.name, ref.version, (ref.version,), manifest, manifest.digest, 4, ()))

    def resolve(self, name: str, version: str = "", key: str = "") -> ModelDescription | None:  # noqa: ARG002 - the port's
        """Find the model."""
        return self.description if name == self.description.name else None

    async def find(self, name: str, version: str = "", key: str = "") -> ModelDescription:
        """Find the model, or say that it is unknown."""
        found = self.resolve(name, version, key)
        if found is None:
            raise ModelUnknownError(name, version, f"known is {self.description.name}")
        return found

    async def describe(self, name: str, version: str = "") -> ModelDescription:
        """Describe the model."""
        return await self.find(name, version)

    def infer_now(self, model: ModelDescription, requests: Sequence[Ask]) -> list[Inferred | HubError | None]:
        """Answer zeros, or refuse, if that is quick."""
        if not self.is_quick:
            return [None] * len(requests)
        self.waves.append(len(requests))
        return [self.failure or _zeros(model, ask.inputs, is_scored=ask.is_scored) for ask in requests]

    async def infer(
        self,
        model: ModelDescription,
        inputs: Mapping[str, NDArray[Any]],
        *,
        is_scored: bool = False,
        **how: Any,  # noqa: ANN401
    ) -> Inferred:
        """Answer zeros."""
        self.calls.append(how)
        self.began.set()
        if self.failure is not None:
            raise self.failure
        if self.is_stuck:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.was_cancelled.set()
                raise
        return _zeros(model, inputs, is_scored=is_scored)

    async def index(self) -> tuple[ModelEntry, ...]:
        """List the model, and one that does not load."""
        ready = ModelEntry(self.description.name, self.description.version, ModelState.READY, "")
        return ready, ModelEntry("other", "1.0.0", ModelState.UNAVAILABLE, "damaged")

    def is_ready(self, name: str, version: str = "") -> bool:
        """Tell whether it is the model."""
        return self.resolve(name, version) is not None

    async def load(self, name: str, version: str = "") -> None:
        """Note it."""
        self.changes.append(f"load {name} {version}".strip())

    async def unload(self, name: str, version: str = "") -> None:
        """Note it."""
        self.changes.append(f"unload {name} {version}".strip())

    def statistics(self, name: str = "", version: str = "") -> tuple[ModelStatistics, ...]:  # noqa: ARG002 - the port's
        """Tell of the calls."""
        spent = Spent(len(self.calls), 1)
        none = Spent(0, 0)
        facts = (self.description.name, self.description.version, len(self.calls), len(self.calls), 0)
        return (ModelStatistics(*facts, spent, none, spent, spent, spent, spent, none, none, ()),)


def _zeros(model: ModelDescription, inputs: Mapping[str, NDArray[Any]], *, is_scored: bool) -> Inferred:
    n_rows = len(next(iter(inputs.values())))
    outputs = {spec.name: np.zeros((n_rows, *spec.shape[1:]), np.float32) for spec in model.manifest.outputs}
    scored = (Scored(Classification("ok", {"ok": 1.0}), 0.75, None),) if is_scored else None
    return Inferred(outputs, str(model.manifest.ref), model.version, 1, 2, n_rows, False, (), scored)
