"""Optimised graphs are found again for exactly what they were made of, and take a bounded place."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model_packs.digests import digest_of
from model_packs.engines.graph_cache import GraphCache, GraphKey
from model_packs.engines.machine import Machine

KEY = GraphKey(digest_of(b"graph"), "1.31.1", "CPUExecutionProvider", "all", Machine("Cortex-A76", "asimd", 4))


def write(path: Path) -> None:
    """Stand for the engine."""
    path.write_bytes(b"optimised\nwith a line in it")


@pytest.fixture
def cache(tmp_path: Path) -> GraphCache:
    """A cache whose folder is not there yet."""
    return GraphCache(tmp_path / "graphs")


def test_what_was_kept_is_read(cache: GraphCache) -> None:
    """Byte for byte."""
    assert cache.read(KEY) is None
    cache.build(KEY, 10, write)
    assert cache.read(KEY) == b"optimised\nwith a line in it"


@pytest.mark.parametrize(
    "changes",
    [
        {"graph_digest": digest_of(b"another")},
        {"engine_version": "1.32.0"},
        {"provider": "CUDAExecutionProvider"},
        {"options": "none"},
        {"machine": Machine("Cortex-A76", "asimd dotprod", 4)},
        {"machine": Machine("Neoverse", "asimd", 4)},
    ],
)
def test_whatever_decides_its_bytes_is_part_of_its_name(cache: GraphCache, changes: dict[str, Any]) -> None:
    """An entry of another graph, library, provider, option or processor is not found; how many cores is no part."""
    cache.build(KEY, 10, write)
    assert cache.read(replace(KEY, **changes)) is None
    assert cache.read(replace(KEY, machine=Machine("Cortex-A76", "asimd", 8))) is not None


def test_an_engine_that_writes_nothing_leaves_nothing(cache: GraphCache, tmp_path: Path) -> None:
    """Nor does one that fails: its error goes to the caller."""
    cache.build(KEY, 10, lambda _path: None)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("no space")

    with pytest.raises(RuntimeError):
        cache.build(KEY, 10, fail)
    assert list((tmp_path / "graphs").iterdir()) == []


def test_without_room_nothing_is_built(cache: GraphCache) -> None:
    """A graph larger than half the disk is not kept."""
    cache.build(KEY, 1 << 60, write)
    assert cache.read(KEY) is None


def test_the_entries_used_last_stay(cache: GraphCache, tmp_path: Path) -> None:
    """The folder does not grow with every version of a pack."""
    keys = [replace(KEY, options=str(number)) for number in range(20)]
    for key in keys:
        cache.build(key, 10, write)
        assert cache.read(keys[0]) is not None
    assert len(list((tmp_path / "graphs").iterdir())) == 16
    assert cache.read(keys[1]) is None
