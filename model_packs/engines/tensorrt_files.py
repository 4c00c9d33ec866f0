"""Owns the engines and kernel times that TensorRT made on this machine: one file each by graph and precision.

They are made again from the ONNX graph whenever they do not fit (`tensorrt_plan.py` decides), so that a file is never
worth more than the time it saves: what cannot be read or written is built, not an error. An engine is code for the GPU:
the folder must be as private as the pack store.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from model_packs.engines.tensorrt_plan import EngineKey, read_kept, write_kept
from model_packs.process.durable import PRIVATE_MODE, make_folder, write_file

logger = logging.getLogger(__name__)


class EngineFiles:
    """What is kept for one graph.

    Args:
        folder: Where; None keeps nothing.
        key: What an engine is needed for.
    """

    def __init__(self, folder: Path | None, key: EngineKey) -> None:
        self._folder = folder
        self._key = key

    def engine(self) -> bytes | None:
        """Read the kept engine.

        Returns:
            What TensorRT serialised; None if it must be built, whose reason is logged.
        """
        return self._read("engine", self._key.facts)

    def keep_engine(self, plan: bytes) -> None:
        """Keep an engine; it replaces the one for another version or GPU."""
        self._write("engine", self._key.facts, plan)

    def timing(self) -> bytes:
        """Read the kept kernel times; empty if there are none."""
        return self._read("timing", self._key.timing_facts) or b""

    def keep_timing(self, times: bytes) -> None:
        """Keep kernel times."""
        self._write("timing", self._key.timing_facts, times)

    def _path(self, kind: str) -> Path | None:
        return None if self._folder is None else self._folder / f"{self._key.stem}.{kind}"

    def _read(self, kind: str, facts: Mapping[str, str]) -> bytes | None:
        path = self._path(kind)
        if path is None:
            return None
        try:
            content, reason = read_kept(path.read_bytes(), facts)
        except FileNotFoundError:
            return None
        except OSError as error:
            content, reason = None, f"it cannot be read: {error.strerror}"
        if content is None:
            logger.info("tensorrt_file_unused", extra={"path": str(path), "reason": reason})
        return content

    def _write(self, kind: str, facts: Mapping[str, str], content: bytes) -> None:
        path = self._path(kind)
        if path is None:
            return
        try:
            make_folder(path.parent)
            write_file(path, write_kept(facts, content), mode=PRIVATE_MODE)
        except OSError as error:
            logger.warning("tensorrt_file_not_kept", extra={"path": str(path), "reason": error.strerror})
