"""Owns the serving core as one thing: what `interface.InferenceServing` promises, put together from its parts.

Requests come from the Open Inference Protocol and from stored escalations; both go through the same batchers. Parts:
`models.py` (what is loaded), `batcher.py` (requests of one model), `window.py` (when batches close), `ensembles.py`,
`caching.py` (answers given before), `accounts.py` (what it cost).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from numpy.typing import NDArray

from cloud_hub.core.serving.costs import Cost, CostKey
from cloud_hub.errors import HubError, StorageError
from cloud_hub.metrics import HubMetrics
from cloud_hub.serving.accounts import Accounts, CostStore
from cloud_hub.serving.batcher import BatcherParts
from cloud_hub.serving.caching import AnswerCaching, RemoteAnswers
from cloud_hub.serving.cost_book import CostBook
from cloud_hub.serving.ensembles import VERSION, Ensembles
from cloud_hub.serving.errors import ModelUnknownError
from cloud_hub.serving.interface import (
    DEFAULT_PRIORITY,
    Ask,
    Caller,
    Inferred,
    ModelDescription,
    ModelEntry,
    ModelState,
    ModelStatistics,
)
from cloud_hub.serving.loading import LoadedModel, OpenedPack, PackSource, load, measure
from cloud_hub.serving.models import Models
from cloud_hub.serving.terms import ServingTerms
from model_packs.scoring import score

STOP_S = 2.0
"""How long runs may go on when the hub stops."""

logger = logging.getLogger(__name__)


class Serving:
    """The serving core of one hub; fills `InferenceServing`. Made on the event loop that it is used on.

    Args:
        terms: How it serves.
        source: The packs that can be served.
        costs: Where costs are written down.
        metrics: Where runs are counted.
        remote: Answers kept outside this process; None: only in it.
        wall_ns: Wall clock.
    """

    def __init__(
        self,
        terms: ServingTerms,
        source: PackSource,
        costs: CostStore,
        metrics: HubMetrics,
        *,
        remote: RemoteAnswers | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._terms = terms
        self._metrics = metrics
        self._book = CostBook(terms.cost_rows)
        self._workers = ThreadPoolExecutor(max(terms.loading.cores, terms.loading.instances), "infer")
        self._loaders = ThreadPoolExecutor(1, "load-model")
        self._parts = BatcherParts(
            terms.window_s, self._workers, self._book, wall_ns, self._note_run, self._note_refused
        )
        self._models = Models(
            source,
            self._made,
            self._loaders,
            self._loop.time,
            routes=terms.routes,
            pinned=terms.pinned,
            budget_bytes=terms.memory_bytes,
            together=[frozenset(ref for ref, _ in one.members) for one in terms.ensembles.values()],
        )
        self._ensembles = Ensembles(self._models, terms.ensembles)
        self._caching = AnswerCaching(terms.cache_bytes, remote)
        self._cached = frozenset(terms.cached)
        self._accounts = Accounts(self._book, costs, metrics, wall_ns)

    async def open(self) -> None:
        """Load what is published, as far as there is memory for it; raises StorageError."""
        await self._models.load_all()
        self._show_models()

    async def run(self) -> None:
        """Take newer versions and write costs down, until cancelled; a failure is logged, counted and tried again."""
        while True:
            await asyncio.sleep(self._terms.keep_up_s)
            try:
                await self.keep_up()
            except Exception:  # the top of this loop: what is loaded answers on, what is not written stays in the book
                logger.exception("keeping_up_failed")
                self._metrics.loop_failures.labels("serving").inc()

    async def keep_up(self) -> None:
        """Take newer versions, and write costs down; raises StorageError."""
        try:
            await self._models.keep_up()
            self._show_models()
        finally:
            await self._accounts.write()

    async def close(self) -> None:
        """Answer what was let in, write costs down, free everything; a second call does nothing.

        What is not answered within `STOP_S` is refused; a run that goes on is left to itself.
        """
        try:
            async with asyncio.timeout(STOP_S):
                await self._models.close()
        except TimeoutError:
            logger.warning("runs_left_behind", extra={"after_s": STOP_S})
        try:
            await self._accounts.write()
        except StorageError:
            logger.exception("costs_not_written")
        await self._caching.close()
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._loaders.shutdown(wait=False, cancel_futures=True)

    def resolve(self, name: str, version: str = "", key: str = "") -> ModelDescription | None:
        """Find a loaded model by look-ups only; see `InferenceServing.resolve`."""
        if name in self._terms.ensembles:
            return self._ensembles.resolve(name) if version in ("", VERSION) else None
        return self._models.resolve(name, version, key)

    async def find(self, name: str, version: str = "", key: str = "") -> ModelDescription:
        """Find a model, loading it where it is not loaded; see `InferenceServing.find`."""
        if name in self._terms.ensembles:
            return await self._ensembles.find(name, version)
        return await self._models.find(name, version, key)

    async def infer(
        self,
        model: ModelDescription,
        inputs: Mapping[str, NDArray[Any]],
        *,
        caller: Caller,
        deadline_s: float | None = None,
        priority: int = DEFAULT_PRIORITY,
        is_scored: bool = False,
    ) -> Inferred:
        """Answer one request; see `InferenceServing.infer`."""
        if model.name in self._cached:
            return await self._infer_cached(model, inputs, caller, deadline_s, priority, is_scored=is_scored)
        running = self._models.running(model)
        if running is None:
            return await self._infer_any(model, inputs, caller, deadline_s, priority, is_scored=is_scored)
        batcher = running.batcher
        return await batcher.answered(batcher.submit(inputs, caller, deadline_s, priority, is_scored=is_scored))

    def infer_now(self, model: ModelDescription, requests: Sequence[Ask]) -> list[Inferred | HubError | None]:
        """Answer requests together before anything else is done; see `InferenceServing.infer_now`."""
        running = None if model.name in self._cached else self._models.running(model)
        return [None] * len(requests) if running is None else running.batcher.answer_now(requests)

    async def describe(self, name: str, version: str = "") -> ModelDescription:
        """Describe a model without loading it; see `InferenceServing.describe`."""
        found = self.resolve(name, version)
        if found is not None:
            return found
        if name in self._terms.ensembles:
            return await self._ensembles.find(name, version)
        ref = await self._models.known(name, version)
        manifest = self._models.manifest(ref)
        return ModelDescription(
            name=ref.name,
            version=ref.version,
            versions=self._models.versions(ref.name),
            manifest=manifest,
            digest=manifest.digest,
            batch=min(manifest.max_batch, self._terms.loading.max_batch),
            models=(),
        )

    async def index(self) -> tuple[ModelEntry, ...]:
        """List every version that can be asked for; see `InferenceServing.index`."""
        await self._models.scan()
        ensembles = tuple(
            ModelEntry(name, VERSION, ModelState.READY, "")
            if self._ensembles.resolve(name)
            else ModelEntry(name, VERSION, ModelState.UNAVAILABLE, "its members are loaded when it is asked for")
            for name in self._ensembles.names
        )
        return tuple(sorted((*self._models.entries(), *ensembles), key=lambda entry: entry.name))

    def is_ready(self, name: str, version: str = "") -> bool:
        """Tell whether a request would find the model loaded; see `InferenceServing.is_ready`."""
        return self.resolve(name, version) is not None

    async def load(self, name: str, version: str = "") -> None:
        """Load and warm up a model; see `InferenceServing.load`."""
        if name in self._terms.ensembles:
            await self._ensembles.find(name, version)
        else:
            await self._models.load(name, version)

    async def unload(self, name: str, version: str = "") -> None:
        """Unload a model until somebody loads it; an ensemble's members stay. See `InferenceServing.unload`."""
        if name in self._terms.ensembles:
            raise ModelUnknownError(name, version, "an ensemble is not loaded itself: unload its members")
        await self._models.unload(name, version)

    def statistics(self, name: str = "", version: str = "") -> tuple[ModelStatistics, ...]:
        """Read what models did; see `InferenceServing.statistics`."""
        counts = {(ref.name, ref.version): one for ref, one in self._models.counts().items()}
        counts |= {(one, VERSION): self._ensembles.counts[one] for one in self._ensembles.names}
        wanted = [key for key in sorted(counts) if name in ("", key[0]) and version in ("", key[1])]
        if name and not wanted:
            raise ModelUnknownError(name, version, "nothing was asked of it since the hub started")
        return tuple(counts[key].read(*key) for key in wanted)

    async def _infer_any(
        self,
        model: ModelDescription,
        inputs: Mapping[str, NDArray[Any]],
        caller: Caller,
        deadline_s: float | None,
        priority: int,
        *,
        is_scored: bool,
    ) -> Inferred:
        """Answer with an ensemble, or with a model that was unloaded since it was found."""
        if model.name in self._terms.ensembles:
            return await self._ensembles.infer(model, inputs, caller, deadline_s, priority, is_scored=is_scored)
        running = self._models.running(model)
        while running is None:
            running = self._models.running(await self._models.find(model.name, model.version, ""))
        batcher = running.batcher
        return await batcher.answered(batcher.submit(inputs, caller, deadline_s, priority, is_scored=is_scored))

    async def _infer_cached(
        self,
        model: ModelDescription,
        inputs: Mapping[str, NDArray[Any]],
        caller: Caller,
        deadline_s: float | None,
        priority: int,
        *,
        is_scored: bool,
    ) -> Inferred:
        """Answer with what was answered before, else keep what is answered now."""
        began_ns = time.perf_counter_ns()
        place, outputs = await self._caching.look_up(model.digest, inputs)
        took_ns = time.perf_counter_ns() - began_ns
        self._models.counts()[model.manifest.ref].note_cache(is_hit=outputs is not None, took_ns=took_ns)
        self._metrics.answer_cache.labels("miss" if outputs is None else "hit").inc()
        if outputs is None:
            said = await self._infer_any(model, inputs, caller, deadline_s, priority, is_scored=is_scored)
            if place is not None:
                await self._caching.keep(place, said.outputs)
            return said
        rows = len(next(iter(outputs.values())))
        key = CostKey(caller.tenant, caller.name, str(model.manifest.ref))
        self._book.add(key, Cost(requests=1, windows=rows, cached=1))
        return Inferred(
            outputs=outputs,
            pack=str(model.manifest.ref),
            version=model.version,
            queue_ns=took_ns,
            compute_ns=0,
            batch=rows,
            is_cached=True,
            models=model.models,
            scored=score(model.manifest, outputs) if is_scored else None,
        )

    def _made(self, opened: OpenedPack) -> LoadedModel:
        """Measure a session and put a batcher before it; called in a worker's thread."""
        loading = self._terms.loading
        return load(opened, measure(opened, loading.max_batch), loading, self._parts, self._loop)

    def _show_models(self) -> None:
        count, size_bytes = self._models.load_of_memory()
        self._metrics.models_loaded.set(count)
        self._metrics.models_bytes.set(size_bytes)

    def _note_run(self, rows: int, took_s: float) -> None:
        self._metrics.infer_s.observe(took_s)
        self._metrics.batch_windows.observe(rows)

    def _note_refused(self, reason: str) -> None:
        self._metrics.refused.labels(reason).inc()
