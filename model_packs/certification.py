"""Owns how `model-pack certify` gets from a file of scores and a pack.toml to a certificate.

The statistics are `certificate/certify.py`, the document is `certificate/document.py`; printing is `cli.py`.
"""

import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model_packs.certificate.certify import Certified, certify
from model_packs.certificate.document import ASSUMPTION as ASSUMPTION  # noqa: PLC0414 - the command's default
from model_packs.certificate.document import RISKS as RISKS  # noqa: PLC0414 - the command's choices
from model_packs.certificate.document import Certificate, Circumstances, Risk, certificate_of
from model_packs.certificate.errors import CertificateError
from model_packs.digests import digest_of_file
from model_packs.pack_spec import ABSENT_MEND, PackSpec
from model_packs.process.settings import load_toml

_ARRAYS = ("score", "correct", "tune_scores", "clusters")


@dataclass(frozen=True, slots=True)
class Statement:
    """What the author says about the scores; the rest of the circumstances is read from pack.toml.

    Attributes:
        risk: What counts as wrong.
        reference: What answers were compared with.
        population: What the scores were drawn from, in words.
        assumption: What the statement rests on, in words.
        cluster_unit: What clusters are, in one word.
        provider: Execution provider that gave the scores.
        dataset: The data set's file.
        issued_at: RFC 3339 UTC, to the second.
        valid_until: The same; None when no end is stated.
    """

    risk: Risk
    reference: str
    population: str
    assumption: str
    cluster_unit: str | None
    provider: str
    dataset: Path
    issued_at: str
    valid_until: str | None


def certify_scores(scores: Path, target: float, delta: float) -> Certified:
    """Certify from a file.

    Args:
        scores: `.npz` with `score` [rows], `correct` [rows] and, optionally, `tune_scores` and `clusters`.
        target: Largest share of wrong answers among those kept.
        delta: Chance that the statement is wrong.

    Returns:
        The outcome; that no threshold qualifies is one.

    Raises:
        CertificateError: The file is no such archive, or its rows cannot be certified.
        OSError: The file cannot be read.
    """
    try:
        with np.load(scores, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise CertificateError(f"{scores}: not an .npz file of plain arrays: {error}") from error
    unknown = arrays.keys() - set(_ARRAYS)
    if unknown or not {"score", "correct"} <= arrays.keys():
        found = ", ".join(sorted(arrays)) or "nothing"
        raise CertificateError(
            f"{scores}: holds {found}; needed are score and correct, optional {', '.join(_ARRAYS[2:])}"
        )
    return certify(
        arrays["score"],
        arrays["correct"],
        target=target,
        delta=delta,
        tune_scores=arrays.get("tune_scores"),
        clusters=arrays.get("clusters"),
    )


def issue(certified: Certified, spec_toml: Path, statement: Statement) -> Certificate:
    """Write the outcome down for the best variant of a pack in the making.

    Args:
        certified: The outcome.
        spec_toml: The pack's declaration.
        statement: What the author says about the scores.

    Returns:
        The certificate.

    Raises:
        SettingsError: pack.toml is wrong.
        CertificateError: A stated text is not what a certificate may hold.
        OSError: The graph or the data set cannot be read.
    """
    spec = load_toml(spec_toml, PackSpec, absent_mend=ABSENT_MEND)
    if not spec.variants:
        raise CertificateError(f"{spec_toml}: declares no variant to certify")
    variant = min(spec.variants, key=lambda entry: entry.rank)
    certificate = certificate_of(
        certified,
        Circumstances(
            risk=statement.risk,
            reference=statement.reference,
            population=statement.population,
            assumption=statement.assumption,
            cluster_unit=statement.cluster_unit,
            graph_digest=digest_of_file(spec_toml.absolute().parent / variant.file),
            variant=variant.id,
            provider=statement.provider,
            precision=variant.precision,
            dataset_digest=digest_of_file(statement.dataset),
            temperature=spec.temperature,
            issued_at=statement.issued_at,
            valid_until=statement.valid_until,
        ),
    )
    return Certificate.from_json(certificate.to_json())  # what cannot be read back is not written


def to_document(certified: Certified) -> dict[str, Any]:
    """Write an outcome as a JSON object.

    Args:
        certified: The outcome.

    Returns:
        Its fields by name.
    """
    return asdict(certified)


def describe(certified: Certified) -> str:
    """Say an outcome in words.

    Args:
        certified: The outcome.

    Returns:
        One line.
    """
    counts = (
        f"{certified.k_errors} wrong of {certified.n_kept} kept of {certified.n_units} (p = {certified.p_value:.3g})"
    )
    if certified.threshold is None:
        return f"no threshold qualifies for target {certified.target:g} at delta {certified.delta:g}: {counts}"
    kept = f"threshold {certified.threshold:.6f} keeps {100 * (certified.coverage or 0.0):.1f} %"
    return f"{kept}: {counts}; target {certified.target:g}, delta {certified.delta:g}"
