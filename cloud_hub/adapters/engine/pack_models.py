"""Owns the full models: hub packs out of the pack store, verified, opened once, timed.

What is asked of them and what becomes of the answers is `answerer.py`; engines are `model_packs.engines`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from cloud_hub.errors import PackUnavailableError
from model_packs.engines.session import Session, zero_inputs
from model_packs.errors import EngineError, PackError
from model_packs.manifest import PackManifest, PackRef
from model_packs.pack import Pack
from model_packs.signing import PublicKey
from model_packs.store import PackStore

OpenSession = Callable[[Pack], Session]

HUB_ROLE = "hub"
RETRY_S = 30.0
"""How long a pack that did not load is left alone."""

_PUBLISH = "publish it on the hub with `cloud-hub packs publish LAYOUT`"
_MS_PER_S = 1000.0

logger = logging.getLogger(__name__)


class LoadedModel:
    """One hub pack with its session.

    Args:
        pack: The verified pack.
        session: Opened and warmed up.
        is_quick: A full batch may run between two messages.
    """

    def __init__(self, pack: Pack, session: Session, *, is_quick: bool) -> None:
        self._pack = pack
        self._session = session
        self._is_quick = is_quick

    @property
    def manifest(self) -> PackManifest:
        """What the pack says about itself."""
        return self._pack.manifest

    @property
    def digest(self) -> str:
        """The pack digest."""
        return self._pack.digest

    @property
    def is_quick(self) -> bool:
        """A full batch runs in so little time that it may run between two messages."""
        return self._is_quick

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        return self._session.run(inputs)

    def close(self) -> None:
        """Free the session."""
        self._session.close()


class PackModels:
    """The hub packs of one pack store.

    Args:
        packs: The open store; other programs may publish into it at any time.
        trusted: Keys whose signature a pack needs.
        open_session: Opens and warms up a pack's session.
        max_batch: Most windows in one run.
        inline_below_ms: A model whose full batch takes less counts as quick.
    """

    def __init__(
        self,
        packs: PackStore,
        trusted: tuple[PublicKey, ...],
        *,
        open_session: OpenSession,
        max_batch: int,
        inline_below_ms: float,
    ) -> None:
        self._packs = packs
        self._trusted = trusted
        self._open_session = open_session
        self._max_batch = max_batch
        self._inline_below_ms = inline_below_ms
        self._loaded: dict[str, LoadedModel] = {}
        self._failed: dict[str, tuple[float, PackUnavailableError]] = {}
        self._loading = asyncio.Lock()

    async def find(self, pack: str) -> LoadedModel:
        """Return a published pack's model, loading it in a thread on first use.

        Args:
            pack: name@version.

        Returns:
            The model.

        Raises:
            PackUnavailableError: It is not published, not signed by the site key, damaged, or no engine runs it.
        """
        found = self._loaded.get(pack)
        if found is not None:
            return found
        async with self._loading:
            if pack not in self._loaded:
                self._loaded[pack] = await self._load(pack)
            return self._loaded[pack]

    async def load_all(self) -> None:
        """Load every hub pack that is published; one that does not load is logged, and tried again when asked for.

        Raises:
            PackError: The store's index is damaged.
        """
        for stored in await asyncio.to_thread(self._packs.list):
            try:
                role = (await asyncio.to_thread(self._packs.load, stored.ref, self._trusted)).manifest.role
                if role == HUB_ROLE:
                    await self.find(str(stored.ref))
            except (PackError, PackUnavailableError) as error:
                extra = {"pack": str(stored.ref), "reason": error.reason, "mend": error.mend}
                logger.warning("pack_unavailable", extra=extra)

    def close(self) -> None:
        """Free every session; a second call does nothing."""
        while self._loaded:
            self._loaded.popitem()[1].close()

    async def _load(self, pack: str) -> LoadedModel:
        failed = self._failed.get(pack)
        if failed is not None and time.monotonic() < failed[0]:
            raise failed[1]
        try:
            ref = PackRef.parse(pack)
            is_here = await asyncio.to_thread(self._packs.resolve, ref) is not None
        except ValueError as error:
            raise PackUnavailableError(pack, str(error), "name the hub pack as name@version") from error
        except PackError as error:
            raise PackUnavailableError(pack, error.reason, error.mend) from error
        if not is_here:
            raise PackUnavailableError(pack, "it is not published here", _PUBLISH)
        try:
            model = await asyncio.to_thread(self._opened, ref)
        except (PackError, EngineError) as error:
            failure = PackUnavailableError(pack, error.reason, error.mend)
            failure.__cause__ = error
            self._failed[pack] = (time.monotonic() + RETRY_S, failure)
            raise failure from error
        self._failed.pop(pack, None)
        return model

    def _opened(self, ref: PackRef) -> LoadedModel:
        pack = self._packs.load(ref, self._trusted)
        if pack.manifest.role != HUB_ROLE:
            raise PackError(str(ref), "it is an edge pack", "escalate to the hub pack that the edge pack names")
        session = self._open_session(pack)
        batch = min(self._max_batch, pack.manifest.max_batch)
        began_s = time.perf_counter()
        session.run(zero_inputs(pack.manifest, batch))
        took_ms = (time.perf_counter() - began_s) * _MS_PER_S
        return LoadedModel(pack, session, is_quick=took_ms < self._inline_below_ms)
