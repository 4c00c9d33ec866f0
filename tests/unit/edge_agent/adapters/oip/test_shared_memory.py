"""Regions of shared memory: sizes are checked, and nothing that their owner does hurts the agent."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.adapters.oip.shared_memory import MAX_REGIONS, SharedMemory
from edge_agent.errors import CallError
from model_packs.errors import TensorError
from protos.status import Status


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[SharedMemory]:
    """Regions in a folder of their own, with one object of 100 bytes."""
    (tmp_path / "object").write_bytes(bytes(range(100)))
    made = SharedMemory(tmp_path)
    yield made
    made.close()


def test_a_region_is_read_and_written_from_its_offset(memory: SharedMemory, tmp_path: Path) -> None:
    """Offsets count from the region's begin; what is written is in the object."""
    memory.register("a", "/object", 10, 50)
    assert memory.read("a", 5, 3) == bytes([15, 16, 17])
    memory.write("a", 0, b"xy")
    assert (tmp_path / "object").read_bytes()[10:12] == b"xy"
    (region,) = memory.status("a")
    assert (region.key, region.offset, region.size) == ("/object", 10, 50)


@pytest.mark.parametrize(("offset", "size"), [(0, 101), (60, 41), (-1, 5), (0, 0), (1 << 62, 1 << 62)])
def test_a_region_larger_than_its_object_is_refused(memory: SharedMemory, offset: int, size: int) -> None:
    """Offset and size are compared with the object."""
    with pytest.raises(CallError, match="has 100 bytes") as caught:
        memory.register("a", "object", offset, size)
    assert caught.value.status is Status.INVALID_ARGUMENT
    assert not memory.status()


@pytest.mark.parametrize(("offset", "size"), [(0, 51), (50, 1), (-1, 2), (2, -1)])
def test_a_part_outside_its_region_is_refused(memory: SharedMemory, offset: int, size: int) -> None:
    """A request names a part of what was registered, and no more."""
    memory.register("a", "object", 0, 50)
    with pytest.raises(TensorError, match="not all in it"):
        memory.read("a", offset, size)


@pytest.mark.parametrize("key", ["", "..", ".", "a/b", "/../etc/passwd", "no-such"])
def test_a_key_that_is_no_object_is_refused(memory: SharedMemory, key: str) -> None:
    """Nothing outside the folder of shared memory can be named."""
    with pytest.raises(CallError) as caught:
        memory.register("a", key, 0, 1)
    assert caught.value.status is Status.INVALID_ARGUMENT


def test_a_link_or_a_folder_is_no_object(memory: SharedMemory, tmp_path: Path) -> None:
    """A link could lead anywhere."""
    (tmp_path / "link").symlink_to(tmp_path / "object")
    (tmp_path / "folder").mkdir()
    for key in ("link", "folder"):
        with pytest.raises(CallError):
            memory.register("a", key, 0, 1)


def test_an_object_that_shrinks_is_an_error_and_nothing_else(memory: SharedMemory, tmp_path: Path) -> None:
    """Reading or writing what is gone fails for that request; a mapping would have ended the process."""
    memory.register("a", "object", 0, 100)
    os.truncate(tmp_path / "object", 4)
    with pytest.raises(TensorError, match="has become smaller"):
        memory.read("a", 0, 100)
    with pytest.raises(TensorError, match="has become smaller"):
        memory.write("a", 50, b"x")
    assert memory.read("a", 0, 4) == bytes(range(4))


def test_names_are_taken_once_and_regions_are_bounded(memory: SharedMemory) -> None:
    """A name is free again when it is unregistered; too many are refused, and leave no open file."""
    memory.register("a", "object", 0, 1)
    with pytest.raises(CallError) as caught:
        memory.register("a", "object", 0, 1)
    assert caught.value.status is Status.ALREADY_EXISTS
    memory.unregister("a")
    memory.unregister("a")
    for number in range(MAX_REGIONS):
        memory.register(str(number), "object", 0, 1)
    with pytest.raises(CallError) as caught:
        memory.register("more", "object", 0, 1)
    assert caught.value.status is Status.RESOURCE_EXHAUSTED
    memory.unregister()
    assert not memory.status()
    with pytest.raises(CallError, match="no region 'a'"):
        memory.status("a")
    with pytest.raises(TensorError, match="no shared memory region"):
        memory.read("a", 0, 1)


def test_a_name_is_no_place_to_keep_bytes(tmp_path: Path) -> None:
    """A region's name is kept as long as the region, and told in messages: it is as short as an object's."""
    (tmp_path / "own").write_bytes(bytes(8))
    shared = SharedMemory(tmp_path)
    with pytest.raises(CallError, match="expected a name"):
        shared.register("x" * 256, "/own", 0, 8)
    shared.register("x" * 255, "/own", 0, 8)
    shared.close()
