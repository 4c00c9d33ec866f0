"""Owns reading a file of scored rows: what `model-pack certify` is given.

An `.npz` archive of plain arrays, or a Parquet table with the same names as columns (the extra `parquet`). What is
certified with the rows is `certification.py`'s business.

| array | rows | means |
|---|---|---|
| `score` | float | higher is kept first |
| `correct` | bool | the answer is the label; `error` and, with `hub_correct`, `excess` |
| `hub_correct` | bool | the hub's answer is the label |
| `agrees` | bool | the answer is the hub's; `disagreement_with_hub` |
| `predicted`, `label`, `hub_predicted` | any | the answers themselves, in place of the three above |
| `probability` | float | not looked at here: `model-pack report` reads the same file |
| `clusters` | int, str | which recording, device-day a row comes from |
| `groups` | int, str | which class or site a row is of, known before the outcome |
| `is_tuning` | bool | the row lays down the order of tests (its cluster, group, outcome as well) |
| `tune_scores`, `tune_clusters`, `tune_groups` | | the same as arrays of their own, of another length |
| `tune_correct`, `tune_predicted`, … | | the outcomes of those, named as the rows' own |
| `labels` | str | names of the classes, where answers are their indices |
"""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from model_packs.certificate.errors import CertificateError
from model_packs.certificate.risks import Risk, outcomes

_ROWS: Final = (
    "score",
    "correct",
    "hub_correct",
    "agrees",
    "predicted",
    "label",
    "hub_predicted",
    "probability",
    "clusters",
    "groups",
)
_TUNING: Final = {"tune_scores": "score", "tune_clusters": "clusters", "tune_groups": "groups"}
_OF_OUTCOMES: Final = ("correct", "hub_correct", "agrees", "predicted", "label", "hub_predicted")
_TUNE_OUTCOMES: Final = {f"tune_{name}": name for name in _OF_OUTCOMES}
_KNOWN: Final = (*_ROWS, "is_tuning", *_TUNING, *_TUNE_OUTCOMES, "labels")
_ANSWERS: Final = {
    "correct": ("predicted", "label"),
    "hub_correct": ("hub_predicted", "label"),
    "agrees": ("predicted", "hub_predicted"),
}
_NEEDED: Final[dict[Risk, tuple[str, ...]]] = {
    "error": ("correct",),
    "disagreement_with_hub": ("agrees",),
    "excess": ("correct", "hub_correct"),
}
_PARQUET: Final = (".parquet", ".pq")

Arrays = Mapping[str, NDArray[Any]]


def read(path: Path) -> Arrays:
    """Read the arrays of a file.

    Args:
        path: `.npz`, or `.parquet`.

    Returns:
        The arrays by name, rows of `is_tuning` taken out as the tuning arrays.

    Raises:
        CertificateError: The file is no such archive, an array is unknown, `score` is missing, or the reader of Parquet
            is not installed.
        OSError: The file cannot be read.
    """
    arrays = _parquet(path) if path.suffix in _PARQUET else read_npz(path)
    unknown = arrays.keys() - set(_KNOWN)
    if unknown or "score" not in arrays:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise CertificateError(f"{path}: holds {found}; score is needed, known are {', '.join(_KNOWN[1:])}")
    return _without_tuning(path, arrays)


def right(path: Path, arrays: Arrays, risk: Risk) -> NDArray[np.bool_]:
    """Which answers count as right under a risk.

    Args:
        path: Where the arrays come from, for messages.
        arrays: From `read`.
        risk: What counts as wrong.

    Returns:
        [rows], as `certify` takes it.

    Raises:
        CertificateError: The arrays that the risk is read from are missing; the message names them.
    """
    needed, missing = _NEEDED[risk], _missing(arrays, risk)
    if missing:
        raise CertificateError(
            f"{path}: the risk {risk} needs {' and '.join(needed)}, or the answers themselves (predicted with label, "
            f"hub_predicted); {' and '.join(missing)} is missing"
        )
    found = {name: _outcome(path, name, arrays) for name in needed}
    return found["correct"] | ~found["hub_correct"] if risk == "excess" else found[needed[0]]


def tune_right(path: Path, arrays: Arrays, risk: Risk) -> NDArray[np.bool_] | None:
    """Which answers of tuning rows count as right under a risk.

    Args:
        path: Where the arrays come from, for messages.
        arrays: From `read`.
        risk: What counts as wrong.

    Returns:
        [tuning rows]; None where the file does not tell.

    Raises:
        CertificateError: What it tells is broken.
    """
    found = {name: arrays[of] for of, name in _TUNE_OUTCOMES.items() if of in arrays}
    if "tune_scores" not in arrays or _missing(found, risk):
        return None
    if len(found.get("label", ())) and len(np.unique(found["label"])) == 1:
        return None  # few rows of one class: no forecast, no mistake
    return right(path, found, risk)


def _missing(arrays: Arrays, risk: Risk) -> list[str]:
    """What the risk cannot be read from."""
    return [
        name for name in _NEEDED[risk] if name not in arrays and not all(answer in arrays for answer in _ANSWERS[name])
    ]


def _outcome(path: Path, name: str, arrays: Arrays) -> NDArray[np.bool_]:
    """One of the yes-or-no arrays: from the answers themselves, else as it is given."""
    answer, truth = _ANSWERS[name]
    if answer in arrays and truth in arrays:
        try:
            if truth == "label":
                return outcomes("error", arrays[answer], labels=arrays[truth])
            return outcomes("disagreement_with_hub", arrays[answer], hub_answers=arrays[truth])
        except CertificateError as error:
            raise CertificateError(f"{path}: {name} from {answer} and {truth}: {error}") from error
    return _yes_or_no(path, name, arrays[name])


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an archive.

    Args:
        path: `.npz`.

    Returns:
        The arrays by name.

    Raises:
        CertificateError: It is no archive of plain arrays.
        OSError: The file cannot be read.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, NpzFile):
            raise CertificateError(f"{path}: a single array, without a name: save it with numpy.savez, by name")
        with archive:
            arrays = {name: np.asarray(archive[name]) for name in archive.files}
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise CertificateError(f"{path}: not an .npz file of plain arrays: {error}") from error
    return arrays


def _yes_or_no(path: Path, name: str, values: NDArray[Any]) -> NDArray[np.bool_]:
    if not np.isin(values, (0, 1)).all():
        raise CertificateError(f"{path}: {name} is yes (1, true) or no (0, false), nothing else")
    return values.astype(np.bool_)


def _parquet(path: Path) -> dict[str, NDArray[Any]]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra: only who reads Parquet needs it
        from pyarrow import parquet  # noqa: PLC0415 - the same
    except ModuleNotFoundError as error:
        raise CertificateError(
            f"{path}: Parquet is read with pyarrow, which is not installed: pip install 'tandem-edge[parquet]', or "
            "write an .npz file"
        ) from error
    try:
        table = parquet.read_table(path)
    except pa.ArrowException as error:
        raise CertificateError(f"{path}: not a Parquet table: {error}") from error
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _without_tuning(path: Path, arrays: dict[str, NDArray[Any]]) -> Arrays:
    """Take the tuning rows out of the others."""
    if "is_tuning" not in arrays:
        return arrays
    apart = sorted(arrays.keys() & {*_TUNING, *_TUNE_OUTCOMES})
    if apart:
        raise CertificateError(
            f"{path}: is_tuning says which rows are for tuning, {', '.join(apart)} bring other ones: leave out either"
        )
    is_tuning = _yes_or_no(path, "is_tuning", arrays["is_tuning"])
    rows = {name: values for name, values in arrays.items() if name in _ROWS}
    if any(values.shape != is_tuning.shape for values in rows.values()):
        raise CertificateError(f"{path}: is_tuning and the rows' arrays are equally long lists")
    kept = {name: values[~is_tuning] for name, values in rows.items()}
    kept |= {name: values for name, values in arrays.items() if name == "labels"}
    return kept | {name: rows[of][is_tuning] for name, of in (_TUNING | _TUNE_OUTCOMES).items() if of in rows}
