"""The certificate as a document: what a threshold may be trusted for, and on what evidence.

Owns the fields, their canonical JSON (`tandem.certificate/1`), the digest, the sentences that a person reads, and the
check that the stored counts support the stored statement. How the threshold is found is `certify` and `selection`.

A certificate is a statement *under its assumption*, for its population, sampling unit, graph and provider. In this
first form the unit is the single window or image and the assumption is that they are independent; windows are not, so
the document names the assumption and gives the measured design effect beside it.
"""

import math
from dataclasses import asdict, dataclass
from typing import Final, Literal, cast

from model_packs import digests
from model_packs.certificate import binomial
from model_packs.certificate.certify import Certified
from model_packs.certificate.errors import CertificateError
from model_packs.digests import Digest
from model_packs.strict_json import Table, canonical, parse

SCHEMA: Final = "tandem.certificate/1"
METHOD: Final = "learn-then-test, fixed sequence from the power start, exact binomial"
SAMPLING_UNIT: Final = "window"
ASSUMPTION: Final = "windows independent, same persons and wrist"
SCORE: Final = "max_probability"
MAX_CERTIFICATE_BYTES: Final = 1 << 16

Risk = Literal["error", "disagreement_with_hub", "excess"]
RISKS: Final[tuple[Risk, ...]] = ("error", "disagreement_with_hub", "excess")

_INSTANT: Final = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z"
_TEXT: Final = r".{1,500}"
_P_VALUE_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a certification is about, beside its numbers.

    Attributes:
        risk: What counts as wrong: `error` (differs from the truth), `disagreement_with_hub`, or `excess` (wrong where
            the hub is right).
        reference: Where the outcomes come from: `labels`, or the hub pack.
        population: The windows that the statement is for, in words.
        assumption: What the statement rests on, in words.
        cluster_unit: What `clusters` were, in one word; None when not told.
        graph_digest: The exact graph that gave the scores.
        variant: Its variant in the pack.
        provider: Execution provider that ran it.
        precision: Number format of its weights.
        dataset_digest: The data set that the rows come from.
        temperature: Divided the logits before the score was taken.
        issued_at: RFC 3339 UTC, to the second.
        valid_until: The same; None when no end is stated.
        sampling_unit: What was counted, in one word: `window`, `image`.
    """

    risk: Risk
    reference: str
    population: str
    assumption: str
    cluster_unit: str | None
    graph_digest: Digest
    variant: str
    provider: str
    precision: str
    dataset_digest: Digest
    temperature: float
    issued_at: str
    valid_until: str | None
    sampling_unit: str = SAMPLING_UNIT


@dataclass(frozen=True, slots=True)
class Recomputation:
    """What the stored counts say when they are tested again.

    Attributes:
        p_value: Recomputed.
        problems: Where the document contradicts its own counts.
    """

    p_value: float
    problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether the counts support the statement."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class Certificate:
    """A threshold and what backs it; numbers as in `certify.Certified`, circumstances as in `Circumstances`.

    Attributes:
        method: How the threshold was found.
        score: What the threshold is compared with; a window is kept when its score is the threshold or more.
    """

    risk: Risk
    reference: str
    target: float
    delta: float
    method: str
    threshold: float | None
    coverage: float | None
    sampling_unit: str
    n_units: int
    n_kept: int
    k_errors: int
    p_value: float
    n_tune: int
    cluster_unit: str | None
    n_clusters: int | None
    design_effect: float | None
    population: str
    assumption: str
    graph_digest: Digest
    variant: str
    provider: str
    precision: str
    dataset_digest: Digest
    score: str
    temperature: float
    issued_at: str
    valid_until: str | None
    signatures: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: bytes) -> "Certificate":
        """Read a certificate from bytes that nobody vouches for.

        Args:
            data: The file; it must be the canonical form, or the digest would name something else.

        Returns:
            The certificate. Whether its counts support it is `recompute`'s answer.

        Raises:
            CertificateError: Another schema, unknown, missing or wrong values: every problem found is listed.
        """
        try:
            value = parse(data, MAX_CERTIFICATE_BYTES)
        except ValueError as exc:
            raise CertificateError(f"certificate: not readable: {exc}") from exc
        schema = value.get("schema") if isinstance(value, dict) else None
        if schema != SCHEMA:
            raise CertificateError(
                f"certificate: schema must be {SCHEMA}, not {schema!r}; a newer certificate needs a newer program"
            )
        problems: list[str] = []
        certificate = _read(Table(value, "", problems))
        if not problems and certificate.to_json() != data:
            problems.append("the bytes are not the canonical JSON of what they say")
        if problems:
            raise CertificateError("certificate: " + "; ".join(problems))
        return certificate

    def to_json(self) -> bytes:
        """The canonical bytes: UTF-8, sorted keys, no spaces."""
        return canonical({"schema": SCHEMA, **asdict(self), "signatures": list(self.signatures)})

    @property
    def digest(self) -> Digest:
        """Digest of the canonical bytes; events name the certificate by it."""
        return digests.digest_of(self.to_json())

    def recompute(self) -> Recomputation:
        """Test the stored counts again.

        Returns:
            The p-value and every contradiction between counts and statement.
        """
        if not 0 <= self.k_errors <= self.n_kept <= self.n_units:
            counts = f"{self.k_errors} errors among {self.n_kept} kept of {self.n_units}"
            return Recomputation(math.nan, (f"impossible counts: {counts}",))
        p_value = binomial.lower_tail(self.k_errors, self.n_kept, self.target)
        return Recomputation(p_value, tuple(self._contradictions(p_value)))

    def _contradictions(self, p_value: float) -> list[str]:
        """Where a document with possible counts contradicts them."""
        found: list[str] = []
        if not math.isclose(p_value, self.p_value, rel_tol=_P_VALUE_TOLERANCE, abs_tol=_P_VALUE_TOLERANCE):
            found.append(f"the p-value of the counts is {p_value:.6g}, not {self.p_value:.6g}")
        if self.threshold is not None and p_value > self.delta:
            found.append(f"the counts do not support the threshold: p {p_value:.4g} is above delta {self.delta:g}")
        if self.threshold is None and p_value <= self.delta:
            found.append(f"the counts support a threshold (p {p_value:.4g}), yet none is stated")
        if (self.threshold is None) != (self.coverage is None):
            found.append("threshold and coverage are stated together or not at all")
        if self.coverage is not None and not math.isclose(self.coverage, self.n_kept / max(self.n_units, 1)):
            found.append(f"coverage {self.coverage:.4f} is not {self.n_kept} of {self.n_units}")
        return found

    def statement(self) -> str:
        """What the certificate says, in sentences for a person."""
        counts = f"{self.k_errors} wrong of {self.n_kept} kept among {self.n_units} calibration {self.sampling_unit}s"
        if self.threshold is None or self.coverage is None:
            head = f"No threshold qualifies for {self.risk} below {self.target:.1%} at delta {self.delta:g} ({counts})."
        else:
            head = (
                f"Keeping {self.sampling_unit}s scored {self.threshold:.4f} or more ({self.coverage:.1%} of them), the "
                f"share of {self.risk} against {self.reference} among the kept is at most {self.target:.1%}, with "
                f"confidence {1.0 - self.delta:.0%} ({counts}, p {self.p_value:.3g})."
            )
        return f"{head} For: {self.population}. Assuming: {self.assumption}. {self._dependence()}"

    def _dependence(self) -> str:
        """How far the assumption is from what was measured."""
        if self.design_effect is None:
            return "The design effect was not measured."
        return (
            f"Measured design effect by {self.cluster_unit or 'cluster'}: {self.design_effect:.2f}; above 1, the "
            f"{self.sampling_unit}s carry less than their number says."
        )


def certificate_of(certified: Certified, circumstances: Circumstances) -> Certificate:
    """Write the outcome of a certification down.

    Args:
        certified: From `certify.certify`.
        circumstances: What it is about.

    Returns:
        The certificate.
    """
    return Certificate(method=METHOD, score=SCORE, **asdict(certified), **asdict(circumstances))


def _read(table: Table) -> Certificate:
    """Read the fields; problems are noted in the table."""
    table.text("schema")
    certificate = Certificate(
        risk=cast("Risk", table.text("risk", choices=RISKS)),
        reference=table.text("reference", _TEXT),
        target=table.number("target", 1e-9, 1.0 - 1e-9),
        delta=table.number("delta", 1e-9, 1.0 - 1e-9),
        method=table.text("method", _TEXT),
        threshold=_optional_number(table, "threshold"),
        coverage=table.number("coverage", 0.0, 1.0) if table.has("coverage") else None,
        sampling_unit=table.text("sampling_unit", _TEXT),
        n_units=table.integer("n_units", 0, binomial.MAX_TRIALS),
        n_kept=table.integer("n_kept", 0, binomial.MAX_TRIALS),
        k_errors=table.integer("k_errors", 0, binomial.MAX_TRIALS),
        p_value=table.number("p_value", 0.0, 1.0),
        n_tune=table.integer("n_tune", 0, binomial.MAX_TRIALS),
        cluster_unit=_optional_text(table, "cluster_unit", _TEXT),
        n_clusters=table.integer("n_clusters", 1, binomial.MAX_TRIALS) if table.has("n_clusters") else None,
        design_effect=table.number("design_effect", 0.0) if table.has("design_effect") else None,
        population=table.text("population", _TEXT),
        assumption=table.text("assumption", _TEXT),
        graph_digest=Digest(table.text("graph_digest", digests.PATTERN)),
        variant=table.text("variant", _TEXT),
        provider=table.text("provider", _TEXT),
        precision=table.text("precision", _TEXT),
        dataset_digest=Digest(table.text("dataset_digest", digests.PATTERN)),
        score=table.text("score", _TEXT),
        temperature=table.number("temperature", 1e-3, 1e3),
        issued_at=table.text("issued_at", _INSTANT),
        valid_until=_optional_text(table, "valid_until", _INSTANT),
        signatures=table.texts("signatures"),
    )
    table.finish()
    return certificate


def _optional_number(table: Table, key: str) -> float | None:
    """A finite number, or null."""
    return table.number(key, -math.inf) if table.has(key) else None


def _optional_text(table: Table, key: str, pattern: str) -> str | None:
    """A string, or null."""
    return table.text(key, pattern) if table.has(key) else None
