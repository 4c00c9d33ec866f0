"""Rows with outcomes, which a report is made of: scored by a shipped pack here and now, or read from a file.

Owns `Evaluation` and both ways to one. What is counted from it is `figures`'; which part of which data a shipped pack
is shown on is `shipped.labelled_rows`'.
"""

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_packs.certificate.errors import CertificateError
from model_packs.engines.opening import open_session
from model_packs.manifest import PackManifest
from model_packs.pack import Pack
from model_packs.process.progress import progress
from model_packs.scoring import Scored, score
from model_packs.shipped.labelled_rows import LabelledRows

_NEEDED: Final = ("score", "correct")
_OPTIONAL: Final = ("probability", "predicted", "hub_correct", "groups", "tune_scores", "tune_groups", "clusters")
UNSCORABLE: Final = "unscorable"
"""Stands for the class of an answer that could not be scored."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What edge and hub did on rows whose truth is known; rows are in any order, all lists equally long.

    Attributes:
        source: What the rows are, in words.
        unit: What a row is, in one word.
        score: float64 [rows], the pack's score, finite; higher is safer.
        correct: bool [rows], whether the edge is right.
        hub_correct: bool [rows], whether the hub is right; None when it was not asked.
        predicted: str [rows], the edge's answer; None when not known.
        probability: float64 [rows], the answer's probability, from 0 to 1; None when not known.
        groups: str [rows], what a certificate with a threshold for each group tells apart; None when not told.
    """

    source: str
    unit: str
    score: NDArray[np.float64] = field(repr=False)
    correct: NDArray[np.bool_] = field(repr=False)
    hub_correct: NDArray[np.bool_] | None = field(repr=False)
    predicted: NDArray[np.str_] | None = field(repr=False)
    probability: NDArray[np.float64] | None = field(repr=False)
    groups: NDArray[np.str_] | None = field(default=None, repr=False)


def run_packs(edge: Pack, hub: Pack | None, rows: LabelledRows) -> Evaluation:
    """Let a pack, and the hub pack behind it, answer labelled rows.

    Args:
        edge: The pack that is reported on.
        hub: The pack that it escalates to, if it is here.
        rows: From the edge pack's family.

    Returns:
        The outcome, scored as an agent and a hub score.

    Raises:
        PackError: A pack is damaged.
        EngineError: No engine can run a pack.
    """
    truth = np.array(edge.manifest.labels)[rows.labels]
    answers = _answers(edge, rows.inputs)
    return Evaluation(
        source=rows.words,
        unit=rows.unit,
        score=np.array([answer.confidence for answer in answers]),
        correct=_labels(answers) == truth,
        hub_correct=None if hub is None else _labels(_answers(hub, rows.inputs)) == truth,
        predicted=_labels(answers),
        probability=np.array(
            [0.0 if answer.output is None else answer.output.scores[answer.output.label] for answer in answers]
        ),
    )


def read_scores(path: Path, manifest: PackManifest) -> Evaluation:
    """Read rows from a file: what `model-pack certify` reads, and more.

    Args:
        path: `.npz` of plain arrays, one value a row: `score` and `correct`; optionally `probability`, `predicted`
            (label names, or their indices), `hub_correct`, `groups`; what only `certify` uses is passed over.
        manifest: The pack that gave the scores.

    Returns:
        The rows.

    Raises:
        CertificateError: No such archive, or its arrays are not what they should be.
        OSError: The file cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise CertificateError(f"{path}: not an .npz file of plain arrays: {error}") from error
    unknown = arrays.keys() - {*_NEEDED, *_OPTIONAL}
    if unknown or not set(_NEEDED) <= arrays.keys():
        found = ", ".join(sorted(arrays)) or "nothing"
        raise CertificateError(
            f"{path}: holds {found}; needed are {' and '.join(_NEEDED)}, optional {', '.join(_OPTIONAL)}"
        )
    n_rows = len(np.atleast_1d(arrays["score"]))
    if n_rows == 0:
        raise CertificateError(f"{path}: holds no rows")
    probability = _numbers(path, "probability", arrays, n_rows) if "probability" in arrays else None
    if probability is not None and not ((probability >= 0.0) & (probability <= 1.0)).all():
        raise CertificateError(f"{path}: probability lies between 0 and 1")
    scores = _numbers(path, "score", arrays, n_rows)
    if probability is None and manifest.score_kind == "max_probability" and ((scores >= 0) & (scores <= 1)).all():
        probability = scores
    return Evaluation(
        source=path.name,
        unit="row",
        score=scores,
        correct=_outcomes(path, "correct", arrays, n_rows),
        hub_correct=_outcomes(path, "hub_correct", arrays, n_rows) if "hub_correct" in arrays else None,
        predicted=_names(path, arrays["predicted"], manifest, n_rows) if "predicted" in arrays else None,
        probability=probability,
        groups=_column(path, "groups", arrays, n_rows).astype(np.str_) if "groups" in arrays else None,
    )


def _answers(pack: Pack, inputs: NDArray[Any]) -> tuple[Scored, ...]:
    manifest = pack.manifest
    session = open_session(pack)
    try:
        starts = range(0, len(inputs), manifest.max_batch)
        return tuple(
            scored
            for start in progress(starts, f"{manifest.ref}: batches of rows")
            for scored in score(
                manifest, session.run({manifest.inputs[0].name: inputs[start : start + manifest.max_batch]})
            )
        )
    finally:
        session.close()


def _labels(answers: tuple[Scored, ...]) -> NDArray[np.str_]:
    return np.array([UNSCORABLE if answer.output is None else answer.output.label for answer in answers])


def _numbers(path: Path, name: str, arrays: dict[str, NDArray[Any]], n_rows: int) -> NDArray[np.float64]:
    values = _column(path, name, arrays, n_rows)
    if values.dtype.kind not in "fiu" or not np.isfinite(values.astype(np.float64)).all():
        raise CertificateError(f"{path}: {name} must be finite numbers")
    return values.astype(np.float64)


def _outcomes(path: Path, name: str, arrays: dict[str, NDArray[Any]], n_rows: int) -> NDArray[np.bool_]:
    values = _column(path, name, arrays, n_rows)
    if not np.isin(values, (0, 1)).all():
        raise CertificateError(f"{path}: {name} holds right (1, true) and wrong (0, false), nothing else")
    return values.astype(np.bool_)


def _names(path: Path, values: NDArray[Any], manifest: PackManifest, n_rows: int) -> NDArray[np.str_]:
    names = _column(path, "predicted", {"predicted": values}, n_rows)
    labels = list(manifest.labels)
    if names.dtype.kind in "iu" and ((names >= 0) & (names < len(labels))).all():
        named: NDArray[np.str_] = np.array(labels)[names]
        return named
    if names.dtype.kind == "U" and np.isin(names, labels).all():
        return names.astype(np.str_)
    raise CertificateError(f"{path}: predicted holds the pack's labels ({', '.join(manifest.labels)}) or their indices")


def _column(path: Path, name: str, arrays: dict[str, NDArray[Any]], n_rows: int) -> NDArray[Any]:
    values = arrays[name]
    if values.shape != (n_rows,):
        raise CertificateError(f"{path}: {name} must be one list of {n_rows} values, not of shape {values.shape}")
    return values
