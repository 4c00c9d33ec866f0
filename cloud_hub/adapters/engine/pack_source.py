"""Owns the hub packs as the serving core gets them: published, signed by the site key, verified, opened.

Which of them are loaded, and when, is `cloud_hub.serving.models`; engines are `model_packs.engines`.
"""

import logging
from collections.abc import Callable

from cloud_hub.errors import PackUnavailableError
from cloud_hub.ports import PackShelf, UnreadablePack
from cloud_hub.serving.loading import OpenedPack
from model_packs.engines.session import Session
from model_packs.errors import EngineError, PackError
from model_packs.manifest import PackManifest, PackRef
from model_packs.pack import Pack
from model_packs.signing import PublicKey
from model_packs.store import PackStore

OpenSession = Callable[[Pack], Session]

HUB_ROLE = "hub"

logger = logging.getLogger(__name__)


class StoredPackSource:
    """The hub packs of one pack store; fills `cloud_hub.serving.loading.PackSource`.

    Args:
        packs: The open store; other programs may publish into it at any time.
        shelf: The same packs' documents, without their weights.
        trusted: Keys whose signature a pack needs.
        open_session: Opens and warms up a pack's session.
    """

    def __init__(
        self,
        packs: PackStore,
        shelf: PackShelf,
        trusted: tuple[PublicKey, ...],
        *,
        open_session: OpenSession,
    ) -> None:
        self._packs = packs
        self._shelf = shelf
        self._trusted = trusted
        self._open_session = open_session
        self._told: set[PackRef] = set()

    async def published(self) -> dict[PackRef, PackManifest]:
        """List those whose documents can be read; a damaged one is logged once."""
        hub: dict[PackRef, PackManifest] = {}
        for one in await self._shelf.packs():
            if isinstance(one, UnreadablePack):
                if one.ref not in self._told:
                    extra = {"pack": str(one.ref), "reason": one.reason, "mend": one.mend}
                    logger.warning("pack_unavailable", extra=extra)
                    self._told.add(one.ref)
            elif one.manifest.role == HUB_ROLE:
                hub[one.ref] = one.manifest
        return hub

    def size_bytes(self, manifest: PackManifest) -> int:
        """The largest graph that may be opened: which one it is, is known afterwards."""
        return max(manifest.file(variant.file).size_bytes for variant in manifest.variants)

    def open(self, ref: PackRef) -> OpenedPack:
        """Verify, open and warm up a pack; takes long."""
        try:
            pack = self._packs.load(ref, self._trusted)
            session = self._open_session(pack)
        except (PackError, EngineError) as error:
            raise PackUnavailableError(str(ref), error.reason, error.mend) from error
        return OpenedPack(pack.manifest, pack.digest, session, self.size_bytes(pack.manifest))
