"""Writes that are whole or not there."""

import os
import stat
from pathlib import Path

import pytest

from model_packs.process.durable import make_folder, private_file, write_file


def test_a_write_replaces_the_whole_file(tmp_path: Path) -> None:
    """The new content is there, with its mode, and nothing else is left in the folder."""
    path = tmp_path / "state.json"
    write_file(path, b"old")
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_content_and_no_rubbish(tmp_path: Path) -> None:
    """The target is a folder, so the rename fails: the temporary file is removed."""
    target = tmp_path / "taken"
    (target / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="taken"):
        write_file(target, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_private_file_is_never_readable_by_others(tmp_path: Path) -> None:
    """The mode is 0600 whatever the umask."""
    old = os.umask(0)
    try:
        private_file(tmp_path / "site.key", b"secret")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "site.key").stat().st_mode) == 0o600


def test_folders_are_made_with_their_parents(tmp_path: Path) -> None:
    """An existing folder is fine."""
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
