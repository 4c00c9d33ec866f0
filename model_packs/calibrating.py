"""Owns `model-pack calibrate`: from logits and outcomes to the lines of pack.toml that make scores honest.

The arithmetic is `calibration/`; what the threshold may be is `certification`'s, on other rows than these.

1. Rows are halved by cluster; one half fits a temperature and a vector scaling, the other accepts one of them or none.
2. With the hub's outcomes, a deferral score is fitted and accepted only where it ranks better than max probability.
3. What was accepted is printed as TOML, with the figures that it was accepted for.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_packs.calibration.deferral import AcceptedDeferral, DeferralError, accept_deferral
from model_packs.calibration.scaling import AcceptedScaling, accept_scaling
from model_packs.calibration.temperature import labelled, softmax
from model_packs.certificate.errors import CertificateError
from model_packs.process.exits import Exit, Parser
from model_packs.score_file import read_npz

SCHEMA: Final = "tandem.calibrated/1"
SEED: Final = 20261122

_ARRAYS: Final = ("logits", "labels", "hub_correct", "clusters", "names")
_LARGEST_LOGIT: Final = 1e30  # far beyond any network's; its square still fits into a double
_HELP: Final = "fit what makes a pack's scores honest, and accept it only where it helps on other rows"


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What was found.

    Attributes:
        scaling: What was accepted for the logits.
        deferral: The learned score and its evidence; None without the hub's outcomes, or when it cannot be learned.
        without: Why there is no deferral score to judge; empty otherwise.
        names: The labels, for the TOML lines.
    """

    scaling: AcceptedScaling
    deferral: AcceptedDeferral | None
    without: str
    names: tuple[str, ...]


def add_to(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Declare the command.

    Args:
        commands: The program's sub-commands.
    """
    parser = commands.add_parser("calibrate", help=_HELP, description=_HELP)
    parser.add_argument(
        "--scores",
        type=Path,
        required=True,
        metavar="LOGITS.NPZ",
        help="arrays logits, labels; optional hub_correct, clusters, names (of the labels)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(command=_calibrate)


def calibrate(scores: Path) -> Calibrated:
    """Calibrate from a file.

    Args:
        scores: `.npz` with `logits` [rows, labels] and `labels` int [rows]; optionally `hub_correct` [rows], `clusters`
            [rows] (rows of one succeed and fail together), `names` [labels].

    Returns:
        What was found.

    Raises:
        CertificateError: The file is no such archive, or its rows cannot be used.
        OSError: The file cannot be read.
    """
    arrays = _read(scores)
    try:
        logits, labels = labelled(arrays["logits"], arrays["labels"])
    except ValueError as error:
        raise CertificateError(f"{scores}: {error}") from error
    n_rows, n_labels = logits.shape
    clusters = arrays.get("clusters", np.arange(n_rows))
    names = arrays.get("names", np.array([f"label {number}" for number in range(n_labels)]))
    if clusters.shape != (n_rows,) or names.shape != (n_labels,):
        raise CertificateError(f"{scores}: clusters hold one value a row ({n_rows}), names one a label ({n_labels})")
    if len(np.unique(names)) < n_labels:
        raise CertificateError(f"{scores}: names hold a label twice; each label has its own")
    is_fit = np.unique(clusters, return_inverse=True)[1] % 2 == 0
    if is_fit.all():
        raise CertificateError(f"{scores}: rows of one cluster cannot both fit and judge; give at least two clusters")
    if len(np.unique(labels)) == 1:
        raise CertificateError(f"{scores}: all rows are of label {labels[0]}; honest scores take rows of at least two")
    if np.abs(logits).max() > _LARGEST_LOGIT:
        raise CertificateError(f"{scores}: logits beyond {_LARGEST_LOGIT:g} are too large to be scaled: broken rows?")
    scaling = accept_scaling((logits[is_fit], labels[is_fit]), (logits[~is_fit], labels[~is_fit]))
    scaled = softmax(logits if scaling.vector is None else scaling.vector.apply(logits), scaling.temperature)
    deferral, without = _deferral(scores, arrays, scaled, scaled.argmax(axis=1) == labels, clusters)
    return Calibrated(scaling, deferral, without, tuple(str(name) for name in names.tolist()))


def to_toml(found: Calibrated) -> str:
    """Write what was accepted as lines for pack.toml.

    Args:
        found: What was found.

    Returns:
        TOML, with the evidence as comments; `temperature` belongs above the first table.
    """
    lines = [_evidence(found.scaling), f"temperature = {found.scaling.temperature!r}"]
    vector = found.scaling.vector
    if vector is not None:
        lines += ["", "[vector_scaling]"]
        lines += [f"{key} = {_named(found.names, getattr(vector, key))}" for key in ("scale", "offset")]
    if found.deferral is None:
        return "\n".join([*lines, "", f"# no deferral score: {found.without}"])
    points, low = 100.0 * found.deferral.gain, 100.0 * found.deferral.gain_low
    judged = (
        f"# deferral against max probability: {points:+.3f} points on average over all shares, 95 % above {low:+.3f}"
    )
    learned = found.deferral.deferral
    if learned is None:
        return "\n".join([*lines, "", judged, "# not accepted: the largest probability stays the score"])
    weights = ", ".join(f"{name} = {weight!r}" for name, weight in learned.weights.items())
    score = ["[score]", 'kind = "deferral"', f"weights = {{ {weights} }}", f"bias = {learned.bias!r}"]
    return "\n".join([*lines, "", judged, *score])


def _calibrate(options: argparse.Namespace) -> int:
    found = calibrate(options.scores)
    document: dict[str, Any] = {"schema": SCHEMA, **asdict(found)}
    text = json.dumps(document, ensure_ascii=False, indent=2) if options.json else to_toml(found)
    sys.stdout.write(f"{text}\n")
    return Exit.OK


def _read(scores: Path) -> dict[str, NDArray[Any]]:
    arrays = read_npz(scores)
    if arrays.keys() - set(_ARRAYS) or not {"logits", "labels"} <= arrays.keys():
        found = ", ".join(sorted(arrays)) or "nothing"
        raise CertificateError(
            f"{scores}: holds {found}; needed are logits and labels, optional {', '.join(_ARRAYS[2:])}"
        )
    return arrays


def _deferral(
    scores: Path,
    arrays: dict[str, NDArray[Any]],
    scaled: NDArray[np.float64],
    edge_right: NDArray[np.bool_],
    clusters: NDArray[Any],
) -> tuple[AcceptedDeferral | None, str]:
    hub_right = arrays.get("hub_correct")
    if hub_right is None:
        return None, "give hub_correct to let one be learned"
    if hub_right.shape != edge_right.shape or not np.isin(hub_right, (0, 1)).all():
        raise CertificateError(f"{scores}: hub_correct holds right (1, true) or wrong (0, false) for each row")
    try:
        return accept_deferral(scaled, edge_right, hub_right, clusters, np.random.default_rng(SEED)), ""
    except DeferralError as error:
        return None, str(error)


def _evidence(scaling: AcceptedScaling) -> str:
    judged = "; ".join(f"{one.kind}: nll {one.nll:.4f}, ece {one.ece:.4f}" for one in scaling.candidates)
    return f"# scaling, on rows not used for the fit: {judged}; accepted: {scaling.kind}"


def _named(names: tuple[str, ...], numbers: tuple[float, ...]) -> str:
    pairs = (f"{json.dumps(name)} = {number!r}" for name, number in zip(names, numbers, strict=True))
    return f"{{ {', '.join(pairs)} }}"
