"""Owns the file that a hub pack with a remote engine has in a graph's place: which model is meant, and how it is asked.

It is signed with the pack, and so names no machine: where the model server is, and how it is reached, is the hub's
configuration (`[model_server.NAME]`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloud_hub.model_servers import ModelServerConfig
from model_packs.engines.graph_file import name_of
from model_packs.errors import EngineError, MissingEngineError
from model_packs.manifest import PackManifest, Variant
from model_packs.strict_json import Table, parse

SCHEMA: Final = "tandem.remote/1"
MAX_BYTES: Final = 1 << 20
MAX_TOKENS: Final = 100_000


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """Which model of a server a pack means.

    Attributes:
        model: Its name there.
        version: Its version there; empty: the one that the server prefers.
        system: For text: what the model is told before the input; empty: nothing.
        max_tokens: For text: most tokens of an answer; None: the server's own limit.
    """

    model: str
    version: str = ""
    system: str = ""
    max_tokens: int | None = None


def read_remote_model(manifest: PackManifest, variant: Variant, data: bytes) -> RemoteModel:
    """Read the file strictly.

    Args:
        manifest: The pack.
        variant: The variant.
        data: The file's bytes.

    Returns:
        The model that is meant.

    Raises:
        EngineError: It has another form; every problem is listed.
    """
    problems: list[str] = []
    found: RemoteModel | None = None
    try:
        table = Table(parse(data, MAX_BYTES), "", problems)
    except ValueError as error:
        problems.append(f"not readable: {error}")
    else:
        table.text("schema", choices=(SCHEMA,))
        found = RemoteModel(
            model=table.text("model", r".{1,200}"),
            version=table.text("version", r".{0,100}") if table.has("version") else "",
            system=table.text("system") if table.has("system") else "",
            max_tokens=table.integer("max_tokens", 1, MAX_TOKENS) if table.has("max_tokens") else None,
        )
        table.finish()
    if found is None or problems:
        raise EngineError(
            f"{name_of(manifest, variant)}: {'; '.join(problems)}",
            f"give it the form of a {SCHEMA} file (docs/engines.md), and build the pack again",
        )
    return found


def server_for(
    servers: Mapping[str, ModelServerConfig], engine: str, manifest: PackManifest
) -> tuple[str, ModelServerConfig]:
    """Find the model server that runs a pack: one that names it, else one that names no packs.

    Args:
        servers: The configured ones, by name.
        engine: The variant's engine.
        manifest: The pack.

    Returns:
        Its name and how it is reached.

    Raises:
        MissingEngineError: There is none.
    """
    fitting = [(name, server) for name, server in servers.items() if server.engine == engine]
    for name, server in fitting:
        if manifest.ref.name in server.packs:
            return name, server
    for name, server in fitting:
        if not server.packs:
            return name, server
    raise MissingEngineError(
        f"{manifest.ref} runs on a model server of the kind {engine}, and none is configured for it",
        f'add [model_server.NAME] with engine = "{engine}" to hub.toml',
    )
