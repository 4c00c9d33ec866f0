"""Processors are kept awake for as long as a block lasts, by the kernel's own file."""

import struct
from pathlib import Path

import pytest

from tests.bench.awake import kept_awake


def test_no_latency_is_asked_for_while_the_file_is_held(tmp_path: Path) -> None:
    """The kernel wants one int, in microseconds; what is unwritten until the file is closed would be too late."""
    asked = tmp_path / "cpu_dma_latency"
    asked.touch()
    with kept_awake(asked):
        assert asked.read_bytes() == struct.pack("i", 0)


def test_a_system_without_it_says_so(tmp_path: Path) -> None:
    """Nothing is made in its place."""
    with pytest.raises(FileNotFoundError), kept_awake(tmp_path / "none"):
        pass
    assert not (tmp_path / "none").exists()
