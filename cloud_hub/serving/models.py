"""Owns which models are loaded: found by name, loaded when asked for, swapped when newer, unloaded for want of memory.

A newer version answers under its name once it is warm, and not before; one that leaves answers first what it let in.
Making one is `loading.py`; which version a name stands for is `core.serving.routes`, who leaves `core.serving.memory`.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial

from cloud_hub.core.serving.memory import Resident, evictions
from cloud_hub.core.serving.routes import Route, newest, version_key
from cloud_hub.errors import PackUnavailableError
from cloud_hub.serving.counts import Counts
from cloud_hub.serving.errors import ModelUnknownError, ModelUnloadedError, ServingFullError
from cloud_hub.serving.interface import ModelDescription, ModelEntry, ModelState
from cloud_hub.serving.loading import LoadedModel, OpenedPack, PackSource
from model_packs.errors import EngineError
from model_packs.manifest import PackManifest, PackRef

RETRY_S = 30.0
"""How long a pack that did not load is left alone."""

_MEMORY_RETRY_S = 5.0

logger = logging.getLogger(__name__)

MakeModel = Callable[[OpenedPack], LoadedModel]
"""Puts a batcher before a session: measures in the caller's thread, then makes it."""


class Models:
    """The models of one serving core.

    Args:
        source: The packs that can be served.
        make: Makes an opened pack into a model; called in a worker's thread.
        loaders: Where packs are opened.
        clock_s: Monotonic clock.
        routes: By name, packs that share it.
        pinned: Packs, name@version or name, that are never unloaded for want of memory.
        together: Packs that answer together: none of them leaves for another, where all find room beside what is
            pinned.
        budget_bytes: What all models may take together; 0: no bound.
    """

    def __init__(
        self,
        source: PackSource,
        make: MakeModel,
        loaders: Executor,
        clock_s: Callable[[], float],
        *,
        routes: Mapping[str, Route],
        pinned: Collection[str],
        budget_bytes: int,
        together: Collection[frozenset[PackRef]] = (),
    ) -> None:
        self._source = source
        self._make = make
        self._loaders = loaders
        self._clock_s = clock_s
        self._routes = routes
        self._pinned = frozenset(pinned)
        self._budget_bytes = budget_bytes
        self._together = tuple(together)
        self._published: dict[str, dict[str, PackManifest]] = {}
        self._default: dict[str, str] = {}
        self._loaded: dict[PackRef, LoadedModel] = {}
        self._by_description: dict[ModelDescription, LoadedModel] = {}
        self._used: dict[PackRef, int] = {}
        self._uses = 0
        self._by_hand: set[PackRef] = set()
        self._counts: dict[PackRef, Counts] = {}
        self._failed: dict[PackRef, tuple[float, PackUnavailableError]] = {}
        self._told: set[PackRef] = set()
        self._loading: set[PackRef] = set()
        self._loads: dict[PackRef, asyncio.Task[ModelDescription]] = {}
        self._unloads: set[asyncio.Task[None]] = set()
        self._leaving: set[PackRef] = set()
        self._lock = asyncio.Lock()

    def running(self, description: ModelDescription) -> LoadedModel | None:
        """Find the model behind a description; None if it was unloaded since."""
        model = self._by_description.get(description)
        if model is not None:
            self._uses += 1
            self._used[description.manifest.ref] = self._uses
        return model

    def resolve(self, name: str, version: str, key: str) -> ModelDescription | None:
        """Find a loaded model by look-ups only; see `InferenceServing.resolve`."""
        if not version:
            route = self._routes.get(name)
            if route is not None:
                return self._described(route.choose(key))
            version = self._default.get(name, "")
        return self._described(PackRef(name, version))

    async def find(self, name: str, version: str, key: str) -> ModelDescription:
        """Find a model, loading it where it is not loaded; see `InferenceServing.find`."""
        found = self.resolve(name, version, key)
        if found is not None:
            return found
        ref = await self.known(name, version, key)
        if ref in self._by_hand:
            raise ModelUnloadedError(str(ref))
        return await self._load(ref)

    async def known(self, name: str, version: str, key: str = "") -> PackRef:
        """Say which pack a name stands for; looks at what is published where it does not know.

        Raises:
            ModelUnknownError: None.
            StorageError: The packs cannot be read.
        """
        found = self._known(name, version, key)
        if found is None:
            await self.scan()
            found = self._known(name, version, key)
        if found is None:
            raise ModelUnknownError(name, version, self._what_is_known(name))
        return found

    def manifest(self, ref: PackRef) -> PackManifest:
        """What a known pack says about itself."""
        return self._published[ref.name][ref.version]

    def versions(self, name: str) -> tuple[str, ...]:
        """The published versions of a name, oldest first."""
        return tuple(sorted(self._published.get(name, ()), key=version_key))

    async def scan(self) -> None:
        """Look at what is published now; raises StorageError."""
        published: dict[str, dict[str, PackManifest]] = {}
        for ref, manifest in (await self._source.published()).items():
            published.setdefault(ref.name, {})[ref.version] = manifest
        self._published = published
        for name, versions in published.items():
            if self._default.get(name) not in versions:
                self._default[name] = newest(versions) or ""

    async def keep_up(self) -> None:
        """Look at what is published; where a newer version is, load it, then let it answer under the name."""
        await self.scan()
        for name in self._published:
            version = self._newest_wanted(name)
            if version is None or version == self._default[name]:
                continue
            ref = PackRef(name, version)
            try:
                await self._load(ref)
            except (PackUnavailableError, ServingFullError) as error:
                if ref not in self._told:
                    extra = {"pack": str(ref), "still_answers": self._default[name], "reason": str(error)}
                    logger.warning("newer_version_not_taken", extra=extra)
                self._told.add(ref)
            else:
                self._default[name] = version

    async def load_all(self) -> None:
        """Load all that is published, as far as there is memory; what does not load is logged, and tried when asked."""
        await self.scan()
        for ref in sorted(self._refs(), key=self._loading_order):
            size_bytes = self._source.size_bytes(self.manifest(ref))
            if evictions(self._residents(), size_bytes, self._budget_bytes) != ():
                continue
            try:
                await self._load(ref)
            except PackUnavailableError as error:
                extra = {"pack": str(ref), "reason": error.reason, "mend": error.mend}
                logger.warning("pack_unavailable", extra=extra)
        for name, versions in self._published.items():  # a newest version that is broken answers for nothing
            sound = newest(version for version in versions if PackRef(name, version) not in self._failed)
            self._default[name] = sound or self._default[name]

    async def load(self, name: str, version: str) -> None:
        """Load by hand; see `InferenceServing.load`."""
        await self.scan()
        is_default = not version and name not in self._routes
        ref = await self.known(name, newest(self._published.get(name, ())) or "" if is_default else version)
        self._by_hand.discard(ref)
        self._failed.pop(ref, None)
        await self._load(ref)
        if is_default:
            self._default[name] = ref.version

    async def unload(self, name: str, version: str) -> None:
        """Unload by hand; see `InferenceServing.unload`."""
        known = await self.known(name, version)
        refs = [known] if version else [PackRef(known.name, one) for one in self._published[known.name]]
        self._by_hand.update(refs)
        self._default[known.name] = self._newest_wanted(known.name) or self._default[known.name]
        unloading = asyncio.create_task(self._leave_together(refs))
        self._unloads.add(unloading)
        unloading.add_done_callback(self._unloads.discard)
        await asyncio.shield(unloading)  # what waits is answered, also where whoever asked for this has gone

    def entries(self) -> tuple[ModelEntry, ...]:
        """List every published version."""
        return tuple(
            ModelEntry(name, version, *self._state(PackRef(name, version)))
            for name in sorted(self._published)
            for version in self.versions(name)
        )

    def counts(self) -> dict[PackRef, Counts]:
        """What models did since the program started, also those that are not loaded now."""
        return self._counts

    def lacking_room(self, refs: Collection[PackRef]) -> str:
        """Say why packs cannot be loaded together beside what is pinned and loaded; nothing where they can.

        Args:
            refs: Known packs.
        """
        pinned = {ref for ref in self._loaded if self._is_pinned(ref)} - set(refs)  # others take no room so far
        needed_bytes, pinned_bytes = (self._size_bytes(some) for some in (refs, pinned))
        if not self._budget_bytes or needed_bytes + pinned_bytes <= self._budget_bytes:
            return ""
        beside = f" beside {pinned_bytes} bytes of pinned packs" if pinned else ""
        return f"they take {needed_bytes} bytes together{beside}, and [serving] memory_bytes is {self._budget_bytes}"

    def load_of_memory(self) -> tuple[int, int]:
        """Count the loaded models, and what they take together in bytes."""
        return len(self._loaded), sum(model.size_bytes for model in self._loaded.values())

    async def close(self) -> None:
        """Unload everything; what was let in is answered first. A second call does nothing."""
        async with self._lock:
            for load in self._loads.values():  # each waits for the lock
                load.cancel()
            await asyncio.gather(*(self._leave(ref) for ref in tuple(self._loaded)))

    def _described(self, ref: PackRef) -> ModelDescription | None:
        model = self._loaded.get(ref)
        return None if model is None else model.description

    def _known(self, name: str, version: str, key: str) -> PackRef | None:
        if version:
            ref = PackRef(name, version)
        elif name in self._routes:
            ref = self._routes[name].choose(key)
        else:
            ref = PackRef(name, self._default.get(name, ""))
        return ref if self._is_known(ref) else None

    def _what_is_known(self, name: str) -> str:
        if name in self._published:
            return f"there is {', '.join(self.versions(name))}"
        names = ", ".join(sorted({*self._published, *self._routes})) or "nothing yet"
        return f"there is {names}; publish a hub pack with `cloud-hub packs publish LAYOUT`"

    def _state(self, ref: PackRef) -> tuple[ModelState, str]:
        if ref in self._leaving:
            return ModelState.UNLOADING, ""
        if ref in self._loaded:
            return ModelState.READY, ""
        if ref in self._loading:
            return ModelState.LOADING, ""
        if ref in self._failed:
            return ModelState.UNAVAILABLE, str(self._failed[ref][1])
        return ModelState.UNAVAILABLE, "unloaded" if ref in self._by_hand else "not loaded until it is asked for"

    async def _load(self, ref: PackRef) -> ModelDescription:
        """Load once for all who ask; one who goes meanwhile ends neither the load nor what leaves for it."""
        load = self._loads.get(ref)
        if load is None:
            load = self._loads[ref] = asyncio.create_task(self._load_once(ref))
            load.add_done_callback(lambda _: self._loads.pop(ref))
        return await asyncio.shield(load)

    async def _load_once(self, ref: PackRef) -> ModelDescription:
        async with self._lock:
            loaded = self._loaded.get(ref)
            if loaded is None:
                self._loading.add(ref)
                try:
                    loaded = await self._made(ref)
                finally:
                    self._loading.discard(ref)
                self._enter(ref, loaded)
        return loaded.description

    async def _made(self, ref: PackRef) -> LoadedModel:
        failed = self._failed.get(ref)
        if failed is not None and self._clock_s() < failed[0]:
            raise failed[1]
        await self._make_room(ref)
        loop = asyncio.get_running_loop()
        try:
            opened = await loop.run_in_executor(self._loaders, partial(self._source.open, ref))
            try:
                loaded = await loop.run_in_executor(self._loaders, partial(self._make, opened))
            except EngineError as error:
                opened.session.close()
                raise PackUnavailableError(str(ref), error.reason, error.mend) from error
        except PackUnavailableError as error:
            self._failed[ref] = (self._clock_s() + RETRY_S, error)
            raise
        self._failed.pop(ref, None)
        return loaded

    def _enter(self, ref: PackRef, model: LoadedModel) -> None:
        """From here on it answers under its version."""
        description = replace(model.description, versions=self.versions(ref.name))
        model = replace(model, description=description)
        model.batcher.counts = self._counts.setdefault(ref, model.batcher.counts)
        self._loaded[ref] = model
        self._by_description[description] = model
        self._uses += 1
        self._used[ref] = self._uses

    async def _make_room(self, ref: PackRef) -> None:
        leaving = self._leaving_for(ref)
        if leaving is None:
            raise ServingFullError(str(ref), "there is no memory for it beside what is pinned", _MEMORY_RETRY_S)
        for pack in leaving:
            logger.info("model_unloaded_for_memory", extra={"pack": pack, "for": str(ref)})
            await self._leave(PackRef.parse(pack))

    def _leaving_for(self, ref: PackRef) -> tuple[str, ...] | None:
        """What is unloaded for a pack: no fellow, or none of one ensemble where those of several find no room."""
        needed, groups = self._source.size_bytes(self.manifest(ref)), self._fellows(ref)
        for staying in (frozenset().union(*groups), *groups):
            leaving = evictions(self._residents(staying), needed, self._budget_bytes)
            if leaving is not None:
                return leaving
        return None

    async def _leave_together(self, refs: Collection[PackRef]) -> None:
        async with self._lock:
            await asyncio.gather(*(self._leave(ref) for ref in refs))

    async def _leave(self, ref: PackRef) -> None:
        """Take a model off its routes, answer what it has let in, and free it."""
        model = self._loaded.pop(ref, None)
        if model is None:
            return
        del self._by_description[model.description]
        self._leaving.add(ref)
        try:
            await model.batcher.end()
        finally:
            self._leaving.discard(ref)
            await asyncio.get_running_loop().run_in_executor(self._loaders, model.session.close)

    def _refs(self) -> list[PackRef]:
        return [PackRef(name, version) for name, versions in self._published.items() for version in versions]

    def _loading_order(self, ref: PackRef) -> tuple[bool, bool, str, str]:
        """What stays loaded first, then what names stand for, then the rest."""
        return (not self._is_pinned(ref), self._default[ref.name] != ref.version, ref.name, ref.version)

    def _newest_wanted(self, name: str) -> str | None:
        """The newest version that nobody unloaded by hand."""
        return newest(one for one in self._published[name] if PackRef(name, one) not in self._by_hand)

    def _is_pinned(self, ref: PackRef) -> bool:
        return ref.name in self._pinned or str(ref) in self._pinned

    def _fellows(self, ref: PackRef) -> list[frozenset[PackRef]]:
        """Packs that stay while one is loaded that answers together with them, by ensemble."""
        groups = [group for group in self._together if ref in group and all(map(self._is_known, group))]
        return [group for group in groups if not self.lacking_room(group)]

    def _is_known(self, ref: PackRef) -> bool:
        return ref.version in self._published.get(ref.name, ())

    def _size_bytes(self, refs: Collection[PackRef]) -> int:
        return sum(self._source.size_bytes(self.manifest(ref)) for ref in refs)

    def _residents(self, staying: Collection[PackRef] = ()) -> list[Resident]:
        return [
            Resident(
                pack=str(ref),
                size_bytes=model.size_bytes,
                last_used=self._used[ref],
                is_pinned=ref in staying or self._is_pinned(ref),
                is_busy=not model.batcher.is_idle,
            )
            for ref, model in self._loaded.items()
        ]
