"""Owns graphs that an engine has optimised already, kept on disk so that the next start need not do it again.

An entry is named by a digest of all that decides its bytes: graph, engine version, provider, options, processor. It is
written as a whole or not at all, and carries its own digest: what is damaged counts as missing and is built again. A
folder that cannot be written costs the time that the cache would have saved, nothing else. The folder belongs to the
program's own state; what is in it is trusted as much as the rest of that state, no less and no more.
"""

import contextlib
import hashlib
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model_packs.digests import Digest, digest_of
from model_packs.engines.machine import Machine
from model_packs.process.durable import make_folder, write_file
from model_packs.strict_json import canonical

_MARK: Final = b"tandem.graph/1 "
_SUFFIX: Final = ".graph"
_MOST_ENTRIES: Final = 16
_KEEP_FREE_BYTES: Final = 64 << 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GraphKey:
    """All that decides the bytes of an optimised graph.

    Attributes:
        graph_digest: The graph as the pack has it.
        engine_version: Version of the engine's library.
        provider: Execution provider that it was optimised for.
        options: What else was asked of the optimiser, in words.
        machine: Whose instruction sets it may use.
    """

    graph_digest: Digest
    engine_version: str
    provider: str
    options: str
    machine: Machine

    @property
    def file_name(self) -> str:
        """The name of its file."""
        parts = [self.graph_digest, self.engine_version, self.provider, self.options]
        told = canonical([*parts, self.machine.cpu, self.machine.features])
        return hashlib.sha256(told).hexdigest() + _SUFFIX


class GraphCache:
    """Optimised graphs in one folder.

    Args:
        folder: Made when the first graph is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: GraphKey) -> bytes | None:
        """Look a graph up.

        Args:
            key: What it was made of.

        Returns:
            The optimised graph, whole; None if it is not here, or damaged (that is logged, and the file removed).
        """
        path = self._folder / key.file_name
        try:
            head, _, graph = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning("graph_cache_unreadable", extra={"path": str(path), "error": str(error)})
            return None
        if head == _head(graph):
            with contextlib.suppress(OSError):
                path.touch()
            return graph
        logger.warning("graph_cache_damaged", extra={"path": str(path), "mend": "nothing: it is built again"})
        self.forget(key)
        return None

    def forget(self, key: GraphKey) -> None:
        """Remove an entry, if it is there and can be."""
        with contextlib.suppress(OSError):
            (self._folder / key.file_name).unlink(missing_ok=True)

    def build(self, key: GraphKey, graph_bytes: int, build: Callable[[Path], None]) -> None:
        """Make an entry; where the disk refuses, none.

        Args:
            key: What it is made of.
            graph_bytes: How large the graph is about; without room for it, and some to spare, nothing is made.
            build: Writes the optimised graph into the file that it is given.
        """
        try:
            make_folder(self._folder)
            if shutil.disk_usage(self._folder).free < _KEEP_FREE_BYTES + 2 * graph_bytes:
                return
            with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
                optimised = Path(scratch, "graph.onnx")
                build(optimised)
                graph = optimised.read_bytes() if optimised.exists() else b""
            if graph:
                write_file(self._folder / key.file_name, _head(graph) + b"\n" + graph)
                self._trim()
        except OSError as error:
            logger.info("graph_cache_unused", extra={"folder": str(self._folder), "error": str(error)})

    def _trim(self) -> None:
        """Keep the entries that were used last."""
        entries = sorted(self._folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime_ns)
        for path in entries[:-_MOST_ENTRIES]:
            path.unlink(missing_ok=True)


def _head(graph: bytes) -> bytes:
    return _MARK + digest_of(graph).encode()
