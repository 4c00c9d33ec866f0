"""Owns which engines run on other machines: the table that the hub adds to the engines of this one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cloud_hub.adapters.remote import oip_session, openai_session
from cloud_hub.adapters.remote.remote_variant import RemoteVariant
from cloud_hub.model_servers import ModelServerConfig
from model_packs.engines.opening import Opener
from model_packs.engines.options import EngineOptions
from model_packs.engines.session import Session
from model_packs.manifest import PackManifest, Variant

_SESSIONS: Final[Mapping[str, Callable[[RemoteVariant], Session]]] = {
    oip_session.ENGINE: oip_session.OipSession,
    openai_session.ENGINE: openai_session.OpenAiSession,
}


def remote_openers(servers: Mapping[str, ModelServerConfig], root: Path) -> dict[str, Opener]:
    """Make the openers of remote engines.

    Args:
        servers: The configured model servers, by name.
        root: Folder that the configuration's paths are relative to.

    Returns:
        Opener by engine, for `open_session(..., openers=...)`.
    """
    return {engine: _opener(make, servers, root) for engine, make in _SESSIONS.items()}


def _opener(make: Callable[[RemoteVariant], Session], servers: Mapping[str, ModelServerConfig], root: Path) -> Opener:
    def opened(manifest: PackManifest, variant: Variant, file: Path, options: EngineOptions) -> Session:
        session = make(RemoteVariant(manifest, variant, file, options, servers, root))
        session.open()
        return session

    return opened
