"""Rows with outcomes, which a report is made of: scored by a shipped pack here and now, or read from a file.

Owns `Evaluation` and both ways to one. What is counted from it is `figures`'; which part of which data a shipped pack
is shown on is `shipped.labelled_rows`'.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_packs import score_file
from model_packs.certificate.errors import CertificateError
from model_packs.engines.opening import open_session
from model_packs.errors import PackError
from model_packs.manifest import CLASSIFICATION, PackManifest
from model_packs.outputs import Classification
from model_packs.pack import Pack
from model_packs.process.progress import progress
from model_packs.scoring import Scored, score
from model_packs.shipped.labelled_rows import LabelledRows

_LARGEST: Final = 1e300
_COLUMNS: Final = (
    "score",
    "correct",
    "hub_correct",
    "predicted",
    "label",
    "hub_predicted",
    "groups",
    "probability",
)
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
    if edge.manifest.task != CLASSIFICATION:
        reason = f"the report runs packs of the task {CLASSIFICATION}, not {edge.manifest.task}"
        raise PackError(str(edge.ref), reason, "give it a file of scores: --scores FILE")
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
            [
                answer.output.scores[answer.output.label] if isinstance(answer.output, Classification) else 0.0
                for answer in answers
            ]
        ),
    )


def read_scores(path: Path, manifest: PackManifest) -> Evaluation:
    """Read rows from the file that `model-pack certify` reads.

    Args:
        path: `.npz` or `.parquet`, as `score_file` documents it. The report uses `score`, the outcomes (`correct`, or
            `predicted` with `label`) and, if they are there, the hub's (`hub_correct`, or `hub_predicted` with
            `label`), `predicted` (label names, or their indices), `groups` and `probability`. Tuning rows are left out.
        manifest: The pack that gave the scores.

    Returns:
        The rows.

    Raises:
        CertificateError: No such file of rows, or its arrays are not what they should be.
        OSError: The file cannot be read.
    """
    arrays = score_file.read(path)
    n_rows = arrays["score"].size
    if n_rows == 0:
        raise CertificateError(f"{path}: holds no rows")
    columns = {name: _column(path, name, arrays[name], n_rows) for name in _COLUMNS if name in arrays}
    scores = _numbers(path, "score", columns["score"])
    probability = _numbers(path, "probability", columns["probability"]) if "probability" in columns else None
    if probability is not None and not ((probability >= 0.0) & (probability <= 1.0)).all():
        raise CertificateError(f"{path}: probability lies between 0 and 1")
    is_probability = manifest.task == CLASSIFICATION and manifest.score_kind == "max_probability"
    if probability is None and is_probability and ((scores >= 0) & (scores <= 1)).all():
        probability = scores
    groups = columns.get("groups")
    return Evaluation(
        source=path.name,
        unit="row",
        score=scores,
        correct=score_file.right(path, columns, "error"),
        hub_correct=_hub_outcomes(path, columns),
        predicted=_names(path, columns["predicted"], manifest) if "predicted" in columns else None,
        probability=probability,
        groups=None if groups is None else groups.astype(np.str_),
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
    return np.array([UNSCORABLE if answer.output is None else answer.output.told for answer in answers])


def _numbers(path: Path, name: str, values: NDArray[Any]) -> NDArray[np.float64]:
    if values.dtype.kind not in "fiu" or not np.isfinite(values.astype(np.float64)).all():
        raise CertificateError(f"{path}: {name} must be finite numbers")
    if len(values) and float(np.abs(values.astype(np.float64)).max()) > _LARGEST:
        raise CertificateError(
            f"{path}: {name} reaches beyond {_LARGEST:g}, where no chart can be drawn: scale it down"
        )
    return values.astype(np.float64)


def _hub_outcomes(path: Path, columns: dict[str, NDArray[Any]]) -> NDArray[np.bool_] | None:
    values = columns.get("hub_correct")
    if values is not None:
        if not np.isin(values, (0, 1)).all():
            raise CertificateError(f"{path}: hub_correct is yes (1, true) or no (0, false), nothing else")
        return values.astype(np.bool_)
    if {"hub_predicted", "label"} <= columns.keys():
        return score_file.right(path, {"predicted": columns["hub_predicted"], "label": columns["label"]}, "error")
    return None


def _names(path: Path, names: NDArray[Any], manifest: PackManifest) -> NDArray[np.str_]:
    labels = list(manifest.labels)
    if names.dtype.kind in "iu" and ((names >= 0) & (names < len(labels))).all():
        named: NDArray[np.str_] = np.array(labels)[names]
        return named
    if names.dtype.kind in "UO" and np.isin(names.astype(np.str_), labels).all():  # Parquet's words are objects
        return names.astype(np.str_)
    raise CertificateError(f"{path}: predicted holds the pack's labels ({', '.join(manifest.labels)}) or their indices")


def _column(path: Path, name: str, values: NDArray[Any], n_rows: int) -> NDArray[Any]:
    if values.shape != (n_rows,):
        raise CertificateError(f"{path}: {name} must be one list of {n_rows} values, not of shape {values.shape}")
    return values
