"""Owns verifying a loaded pack beyond its digests: the certificate against its own counts, the golden examples.

Digests and signatures are checked by `PackStore.load` before a pack gets here; printing is `cli.py`.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_packs.engines.opening import open_session
from model_packs.engines.options import EngineOptions
from model_packs.engines.session import Session
from model_packs.manifest import PackManifest
from model_packs.pack import Pack
from model_packs.process.progress import progress

_NO_GOLDEN: Final = "the pack carries no golden examples"
_DEFAULTS: Final = EngineOptions()


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: What was checked.
        is_ok: Whether it holds; None when the pack gives nothing to check.
        detail: What was found, for a person.
    """

    name: str
    is_ok: bool | None
    detail: str


def check_certificate(pack: Pack) -> Check:
    """Recompute the certificate from its counts and compare it with the pack.

    Args:
        pack: The pack.

    Returns:
        The outcome.

    Raises:
        PackError: The certificate is damaged.
    """
    certificate = pack.certificate
    if certificate is None:
        return Check("certificate", None, "the pack carries none: its threshold is uncertified")
    recomputed = certificate.recompute()
    problems = list(recomputed.problems)
    if certificate.graph_digest not in {variant.graph_digest for variant in pack.manifest.variants}:
        problems.append("it was issued for another graph")
    if certificate.score != pack.manifest.score_name:
        problems.append(f"it was issued for the score {certificate.score}, not {pack.manifest.score_name}")
    if certificate.temperature != pack.manifest.temperature:
        problems.append(f"it was issued for the temperature {certificate.temperature}, not {pack.manifest.temperature}")
    if problems:
        return Check("certificate", is_ok=False, detail="; ".join(problems))
    return Check("certificate", is_ok=True, detail=f"its counts give p = {recomputed.p_value:.3g}")


def check_golden(pack: Pack, options: EngineOptions = _DEFAULTS) -> Check:
    """Run the golden inputs through the engine and compare the outputs with the recorded ones.

    Args:
        pack: The pack.
        options: How sessions are opened on this machine.

    Returns:
        The outcome.

    Raises:
        PackError: A golden file is damaged.
        EngineError: No engine is installed, or it cannot run the pack.
    """
    if pack.manifest.golden is None:
        return Check("golden", None, _NO_GOLDEN)
    session = open_session(pack, options)
    try:
        return golden_on(session, pack)
    finally:
        session.close()


def golden_on(session: Session, pack: Pack) -> Check:
    """Run the golden inputs through an open session and compare the outputs with the recorded ones.

    Args:
        session: Runs a variant of the pack.
        pack: The pack.

    Returns:
        The outcome.

    Raises:
        PackError: A golden file is damaged.
        EngineError: The engine failed.
    """
    golden = pack.manifest.golden
    if golden is None:
        return Check("golden", None, _NO_GOLDEN)
    inputs, outputs = pack.golden()
    largest = _largest_difference(session, inputs, outputs, pack.manifest)
    facts = session.facts
    found = f"{golden.n_examples} examples on {facts.engine} {facts.engine_version} ({facts.provider}, {facts.variant})"
    return Check(
        "golden",
        is_ok=largest <= golden.tolerance,
        detail=f"{found}: largest difference {largest:.3g}, tolerance {golden.tolerance:.3g}",
    )


def _largest_difference(
    session: Session, inputs: dict[str, NDArray[Any]], outputs: dict[str, NDArray[Any]], manifest: PackManifest
) -> float:
    """NaN counts as infinitely different, unless the recorded value is NaN, too; and so does another shape."""
    n_examples = len(next(iter(inputs.values())))
    largest = 0.0
    for start in progress(range(0, n_examples, manifest.max_batch), f"{manifest.ref}: batches of golden examples"):
        rows = slice(start, start + manifest.max_batch)
        produced = session.run({name: array[rows] for name, array in inputs.items()})
        for name, expected in outputs.items():
            if produced[name].shape != expected[rows].shape:
                return math.inf
            both_nan = np.isnan(produced[name]) & np.isnan(expected[rows])
            gaps = np.where(both_nan, 0.0, np.abs(produced[name].astype(np.float64) - expected[rows]))
            largest = max(largest, float(np.nan_to_num(gaps, nan=np.inf, posinf=np.inf).max()))
    return largest
