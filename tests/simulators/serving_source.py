"""Owns stand-in hub packs for the serving core: published when told, opened without an engine, run by a rule."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud_hub.core.serving.admission import Bounds
from cloud_hub.core.serving.costs import Cost, CostKey
from cloud_hub.errors import PackUnavailableError, StorageError
from cloud_hub.serving.accounts import CostRow
from cloud_hub.serving.loading import LoadingTerms, OpenedPack
from cloud_hub.serving.terms import ServingTerms
from model_packs.digests import digest_of
from model_packs.engines.session import SessionFacts
from model_packs.manifest import PackManifest, PackRef

SIZE_BYTES = 100


class ToldSession:
    """Says label `label` of three, as sure as its windows are high; it can be held up and it can break."""

    def __init__(self, label: int) -> None:
        self._label = label
        self.is_held = False
        self.held = threading.Event()
        self.released = threading.Event()
        self.is_closed = False
        self.batches: list[int] = []

    @property
    def facts(self) -> SessionFacts:
        """What it runs on."""
        return SessionFacts("told", "1", "cpu", "fp32", "fp32", digest_of(b""), 1)

    def open(self) -> None:
        """Nothing to open."""

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        windows = inputs["window"]
        self.batches.append(len(windows))
        if self.is_held:
            self.held.set()
            self.released.wait(30.0)
        logits = np.zeros((len(windows), 3), np.float32)
        logits[:, self._label] = windows[:, 0, 0]
        return {"logits": logits}

    def close(self) -> None:
        """Note it."""
        self.is_closed = True


class ToldSource:
    """The packs of a test; fills `PackSource`.

    Args:
        manifest: What all packs look like, but for their names; they take windows of [5, 2] and give three logits.
    """

    def __init__(self, manifest: PackManifest) -> None:
        self._manifest = manifest
        self._packs: dict[PackRef, int] = {}
        self.broken: set[str] = set()
        self.is_storage_broken = False
        self.opened: list[str] = []
        self.sessions: dict[str, ToldSession] = {}

    def publish(self, *packs: str, label: int = 1) -> None:
        """Publish packs (name@version) that say a label."""
        self._packs.update({PackRef.parse(pack): label for pack in packs})

    async def published(self) -> dict[PackRef, PackManifest]:
        """List them."""
        if self.is_storage_broken:
            raise StorageError("the pack store cannot be read")
        return {ref: replace(self._manifest, ref=ref) for ref in self._packs}

    def size_bytes(self, manifest: PackManifest) -> int:
        """All are of one size."""
        assert manifest.ref in self._packs
        return SIZE_BYTES

    def open(self, ref: PackRef) -> OpenedPack:
        """Open one."""
        self.opened.append(str(ref))
        if str(ref) in self.broken:
            raise PackUnavailableError(str(ref), "its graph is damaged", "publish it again")
        session = self.sessions[str(ref)] = ToldSession(self._packs[ref])
        manifest = replace(self._manifest, ref=ref)
        return OpenedPack(manifest, manifest.digest, session, SIZE_BYTES)


class ToldCosts:
    """Costs in memory; fills `CostStore`."""

    def __init__(self) -> None:
        self.written: list[tuple[int, dict[CostKey, Cost]]] = []
        self.is_broken = False

    async def add_costs(self, day: int, costs: Mapping[CostKey, Cost]) -> None:
        """Keep them."""
        if self.is_broken:
            raise StorageError("disk full")
        self.written.append((day, dict(costs)))

    async def costs(self, since_day: int) -> tuple[CostRow, ...]:
        """All from a day on."""
        return tuple(
            CostRow(day, key, cost) for day, costs in self.written if day >= since_day for key, cost in costs.items()
        )


def told_terms(*, inline_below_ms: float = 60_000.0) -> ServingTerms:
    """Terms without bounds that a test would meet by accident."""
    loading = LoadingTerms(
        max_batch=4, instances=1, cores=2, inline_below_ms=inline_below_ms, bounds=Bounds(1000, 1000)
    )
    return ServingTerms(
        loading=loading,
        window_s=0.001,
        keep_up_s=3600.0,
        memory_bytes=0,
        pinned=(),
        routes={},
        ensembles={},
        cached=(),
        cache_bytes=1 << 20,
    )
