"""Owns the memory of which filters the broker's session holds for us, so that removed ones can be unsubscribed.

A persistent session outlives the agent: a filter that the config no longer names would go on delivering.
"""

import json
import logging
from pathlib import Path

from model_packs.process.durable import make_folder, write_file

logger = logging.getLogger(__name__)


class RememberedFilters:
    """A small JSON file of topic filters; a broken disk makes it forget, never fail.

    Args:
        path: The file; its folder is made when first written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> frozenset[str]:
        """The filters that the session may hold; empty when nothing readable is there."""
        try:
            found = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError) as exc:
            logger.warning("filters_unreadable", extra={"path": str(self._path), "failure": str(exc)})
            return frozenset()
        return frozenset(f for f in found if isinstance(f, str)) if isinstance(found, list) else frozenset()

    def save(self, filters: frozenset[str]) -> None:
        """Remember these; a disk that refuses is logged."""
        try:
            make_folder(self._path.parent)
            write_file(self._path, json.dumps(sorted(filters)).encode())
        except OSError as exc:
            logger.warning("filters_not_saved", extra={"path": str(self._path), "failure": str(exc)})
