"""Owns making a published pack into a loaded model: opened, warmed up, measured, with its instances and its batcher.

Where packs lie and which engine opens them is behind the port `PackSource`. Which models are loaded is `models.py`.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cloud_hub.core.serving.admission import Bounds
from cloud_hub.core.serving.run_times import RunTimes
from cloud_hub.serving.batcher import Batcher, BatcherParts, Terms
from cloud_hub.serving.interface import ModelDescription
from cloud_hub.serving.run import Instance
from model_packs.engines.session import REMOTE, Session, batch_limit, zero_inputs
from model_packs.engines.tuning import WORTH, BatchPoint, paying_batch
from model_packs.manifest import PackManifest, PackRef
from model_packs.tensors import DYNAMIC
from protos.messages.inference import ModelUse

MEASURE_S = 0.5
"""How long one batch size is measured at most, where nothing was measured before."""

_REPEATS = 3
_NS_PER_US = 1000.0
_NS_PER_S = 1e9
_MS_PER_S = 1e3
_PATIENCE = 2


@dataclass(frozen=True, slots=True)
class OpenedPack:
    """A verified pack with its open, warm session.

    Attributes:
        manifest: What the pack says about itself.
        digest: The pack digest.
        session: May be run from several threads.
        size_bytes: What it takes in memory: its graph.
    """

    manifest: PackManifest
    digest: str
    session: Session
    size_bytes: int


class PackSource(Protocol):
    """The hub packs that can be served."""

    async def published(self) -> dict[PackRef, PackManifest]:
        """List those whose documents can be read; raises StorageError."""

    def size_bytes(self, manifest: PackManifest) -> int:
        """Tell what a pack will take in memory, before it is opened."""

    def open(self, ref: PackRef) -> OpenedPack:
        """Verify, open and warm up; takes long, called in a worker's thread; raises PackUnavailableError."""


@dataclass(frozen=True, slots=True)
class LoadingTerms:
    """How models are loaded.

    Attributes:
        max_batch: Most windows in one run; a pack's own limit holds, too.
        instances: Runs of one model at the same time; 0: as many as its threads leave cores for.
        cores: Cores that this process may use.
        inline_below_ms: A model whose largest batch takes less runs on the loop.
        bounds: How much may wait for one model.
    """

    max_batch: int
    instances: int
    cores: int
    inline_below_ms: float
    bounds: Bounds


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model that answers.

    Attributes:
        description: What callers get.
        batcher: Where requests go.
        session: To close when it is unloaded.
        size_bytes: What it takes in memory.
    """

    description: ModelDescription
    batcher: Batcher
    session: Session
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of a model's runs when it is loaded.

    Attributes:
        batch: Most windows that pay in one run.
        times: Run times by batch.
        largest_ms: What the largest allowed run takes.
    """

    batch: int
    times: RunTimes
    largest_ms: float


def load(
    opened: OpenedPack,
    measured: Measured,
    terms: LoadingTerms,
    parts: BatcherParts,
    loop: asyncio.AbstractEventLoop,
) -> LoadedModel:
    """Put a batcher before a session.

    Args:
        opened: The session with its pack.
        measured: What `measure` found.
        terms: How models are loaded.
        parts: What batchers share.
        loop: Where requests come.

    Returns:
        The model, ready.
    """
    manifest, digest = opened.manifest, opened.digest
    ref, max_rows = manifest.ref, min(terms.max_batch, manifest.max_batch)
    models = (ModelUse(pack=str(ref), digest=digest),)
    batching = Terms(
        pack=str(ref),
        version=ref.version,
        models=models,
        batch=measured.batch,
        max_rows=max_rows,
        is_open_formed=any(DYNAMIC in spec.shape[1:] for spec in manifest.inputs),
        bounds=terms.bounds,
        is_quick=measured.largest_ms < terms.inline_below_ms,
    )
    count = terms.instances or max(1, terms.cores // opened.session.facts.threads)
    instances = [Instance(manifest, opened.session, measured.batch) for _ in range(1 if batching.is_quick else count)]
    return LoadedModel(
        description=ModelDescription(
            name=ref.name,
            version=ref.version,
            versions=(ref.version,),
            manifest=manifest,
            digest=digest,
            batch=measured.batch,
            models=models,
        ),
        batcher=Batcher(loop, batching, instances, parts, measured.times),
        session=opened.session,
        size_bytes=opened.size_bytes,
    )


def best_run_ns(opened: OpenedPack, size: int, measure_s: float = MEASURE_S) -> int:
    """Time the quickest of a few runs on zeros: what disturbs a run only makes it longer.

    Args:
        opened: The session with its pack.
        size: Windows in a run.
        measure_s: No run begins after that time.

    Returns:
        Nanoseconds.

    Raises:
        EngineError: The engine failed.
    """
    inputs, best_ns, spent_ns = zero_inputs(opened.manifest, size), 0, 0
    for _ in range(_REPEATS):
        began_ns = time.perf_counter_ns()
        opened.session.run(inputs)
        took_ns = time.perf_counter_ns() - began_ns
        best_ns = min(best_ns or took_ns, took_ns)
        spent_ns += took_ns
        if spent_ns > measure_s * _NS_PER_S:
            break
    return best_ns


def measure(opened: OpenedPack, max_batch: int, run_ns: Callable[[OpenedPack, int], int] = best_run_ns) -> Measured:
    """Find the batch that pays on this machine: from the install's tuning file, else by running now.

    Args:
        opened: The session with its pack.
        max_batch: Most windows in one run.
        run_ns: Times a run of so many windows.

    Returns:
        What was found.

    Raises:
        EngineError: The engine failed.
    """
    manifest, session = opened.manifest, opened.session
    largest = min(max_batch, manifest.max_batch)
    if session.facts.provider == REMOTE:  # it is asked when somebody asks; its runs tell how long they take
        return Measured(largest, RunTimes(), math.inf)
    is_fixed = any(spec.shape[0] != DYNAMIC for spec in manifest.inputs)
    is_tuned = is_fixed or session.facts.tuning is not None
    sizes = {1, largest} if is_tuned else {*_doubling(largest), largest}
    times: RunTimes = RunTimes()
    curve: list[BatchPoint] = []
    for size in sorted(sizes):
        took_ns = run_ns(opened, size)
        times.note(size, took_ns)
        curve.append(BatchPoint(size, took_ns / _NS_PER_US, took_ns / _NS_PER_US))
        if not is_tuned and not _still_pays(curve):  # larger runs would only take memory
            break
    batch = min(largest, batch_limit(manifest, session.facts)) if is_tuned else paying_batch(curve)
    return Measured(batch, times, times.run_s(largest) * _MS_PER_S)


def _still_pays(curve: list[BatchPoint]) -> bool:
    """One of the last two sizes made windows cheaper than all before by more than noise."""
    last, before = curve[-_PATIENCE:], curve[:-_PATIENCE]
    return not before or min(p.window_us for p in last) * WORTH < min(p.window_us for p in before)


def _doubling(largest: int) -> list[int]:
    return [1 << power for power in range(largest.bit_length())]
