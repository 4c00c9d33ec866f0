"""The certificate as a document: what a threshold may be trusted for, and on what evidence.

Owns the fields, their canonical JSON, the digest, and the check that the stored counts support the stored statement.
How the threshold is found is `certify`; one tested statement and its check is `tally`; what a person reads is worded in
`sentences`.

A certificate is a statement *under its assumption*, for its population, sampling unit, graph and provider. Where single
windows or images are the unit, the assumption is that they are independent; windows are not, so the document names the
assumption and gives the measured design effect beside it. Where the cluster is the unit, only clusters are taken to be.

Four schemas are read. `tandem.certificate/1` is the exact binomial test of rows; `/2` adds `unit`, `evidence`,
`more_needed`, `group_by` and `groups`, and is written only where one of these is set: a document that `/1` can hold
keeps its bytes and its digest. `/3` adds `issuing`, of the whole or of groups: what was said before the certificate was
tried, where delta is promised of those that are issued. `/4` says in it, too, what that follows from (`basis`), and is
made by another rule (`issuing`); what was made by the former one is computed again by that.
"""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, cast

from model_packs import digests
from model_packs.certificate import binomial, sentences
from model_packs.certificate.certify import Certified, Unit
from model_packs.certificate.errors import CertificateError
from model_packs.certificate.evidence import Clusters, Evidence
from model_packs.certificate.groups import Grouped
from model_packs.certificate.issuing import Issuing
from model_packs.certificate.risks import BLIND_TO, RISKS, Risk
from model_packs.certificate.tally import (
    LEAST_LEVEL,
    Tally,
    evidence_document,
    issuing_document,
    read_evidence,
    read_issuing,
    read_tally,
    tally_of,
)
from model_packs.digests import Digest
from model_packs.strict_json import Table, canonical, parse

SCHEMA: Final = "tandem.certificate/1"
SCHEMA_2: Final = "tandem.certificate/2"
SCHEMA_3: Final = "tandem.certificate/3"
SCHEMA_4: Final = "tandem.certificate/4"
_SCHEMAS: Final = (SCHEMA, SCHEMA_2, SCHEMA_3, SCHEMA_4)
SAMPLING_UNIT: Final = "window"
ASSUMPTION: Final = "windows independent, same persons and wrist"
SCORE: Final = "max_probability"
MAX_CERTIFICATE_BYTES: Final = 1 << 16

_INSTANT: Final = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z"
_TEXT: Final = r".{1,500}"
_DELTA_TOLERANCE: Final = 1e-9


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
        sampling_unit: What is drawn independently, in one word: `window`, `image`; where the cluster is the unit, the
            cluster: `recording`.
        group_by: What the groups are, in one word: `predicted_class`, `site`; None without groups.
        score: Which score the threshold is compared with, by the pack's name for it.
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
    group_by: str | None = None
    score: str = SCORE


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

    With groups there is no common threshold: `thresholds` has one for each, and the counts are their sums.

    Attributes:
        method: How the threshold was found.
        score: What the threshold is compared with; a window is kept when its score is the threshold or more.
        groups: The groups' own statements; empty without groups.
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
    unit: Unit = "row"
    evidence: Evidence = None
    more_needed: int | None = None
    group_by: str | None = None
    groups: tuple[Tally, ...] = ()
    issuing: Issuing | None = None

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
        if schema not in _SCHEMAS:
            raise CertificateError(
                f"certificate: schema must be {SCHEMA} to {SCHEMA_4.rpartition('/')[2]}, not {schema!r}: a newer "
                "certificate needs a newer program"
            )
        problems: list[str] = []
        certificate = _read(Table(value, "", problems), is_newer=schema != SCHEMA)
        if not problems and certificate.to_json() != data:
            problems.append("the bytes are not the canonical JSON of what they say")
        if problems:
            raise CertificateError("certificate: " + "; ".join(problems))
        return certificate

    def to_json(self) -> bytes:
        """The canonical bytes: UTF-8, sorted keys, no spaces."""
        document: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        document |= {
            "signatures": list(self.signatures),
            "evidence": evidence_document(self.evidence),
            "groups": [group.to_document() for group in self.groups],
        }
        said = [one for one in (self.issuing, *(group.issuing for group in self.groups)) if one is not None]
        if said:
            schema = SCHEMA_3 if all(one.basis is None for one in said) else SCHEMA_4
            whole = None if self.issuing is None else issuing_document(self.issuing)
            return canonical({"schema": schema} | document | {"issuing": whole})
        del document["issuing"]
        plain: dict[str, Any] = {"unit": "row", "evidence": None, "more_needed": None, "group_by": None, "groups": []}
        if all(document[name] == value for name, value in plain.items()):
            return canonical({"schema": SCHEMA} | {name: document[name] for name in document.keys() - plain.keys()})
        return canonical({"schema": SCHEMA_2} | document)

    @property
    def digest(self) -> Digest:
        """Digest of the canonical bytes; events name the certificate by it."""
        return digests.digest_of(self.to_json())

    @property
    def thresholds(self) -> dict[str, float | None]:
        """The threshold of each group, by its name; None for a group that is escalated whole. Empty without groups."""
        return {group.group: group.threshold for group in self.groups}

    def recompute(self) -> Recomputation:
        """Test the stored counts again.

        Returns:
            The p-value and every contradiction between counts and statement; with groups the largest p-value of those
            that have a threshold.
        """
        if not self.groups:
            whole = _recomputed(self._tally(), self.target)
            return Recomputation(
                whole.p_value, (*whole.problems, *self._unit_contradictions(), *self._tuning_contradictions())
            )
        tested = [(group, _recomputed(group, self.target)) for group in self.groups]
        problems = [f"group {group.group}: {problem}" for group, again in tested for problem in again.problems]
        p_value = max((again.p_value for group, again in tested if group.threshold is not None), default=1.0)
        return Recomputation(p_value, (*problems, *self._unit_contradictions(), *self._group_contradictions()))

    def _tally(self) -> Tally:
        """The statement about all cases."""
        return Tally(
            group="",
            delta=self.delta,
            threshold=self.threshold,
            coverage=self.coverage,
            n_units=self.n_units,
            n_kept=self.n_kept,
            k_errors=self.k_errors,
            p_value=self.p_value,
            evidence=self.evidence,
            more_needed=self.more_needed,
            issuing=self.issuing,
        )

    def _unit_contradictions(self) -> list[str]:
        """Where another unit was tested than is stated."""
        tested = [self._tally()] if not self.groups else [group for group in self.groups if group.n_kept]
        if all(isinstance(tally.evidence, Clusters) == (self.unit == "cluster") for tally in tested):
            return []
        return [f"the unit is said to be the {self.unit}, and the evidence is about another"]

    def _tuning_contradictions(self) -> list[str]:
        """Where what was forecast is about other rows than are stated."""
        said, n_tune = self.issuing, self.n_tune
        if said is None:
            return []
        if said.basis is not None and said.basis.n_tune != n_tune:
            return [f"the forecast is from {said.basis.n_tune} tuning rows, not {n_tune}"]
        if 0 < said.tune_kept <= n_tune and said.expected_kept == self.n_units * said.tune_kept // n_tune:
            return []
        stated = f"{said.tune_kept} of {n_tune} tuning rows are kept"
        return [f"{stated}: that forecasts other than {said.expected_kept} kept of {self.n_units}"]

    def _group_contradictions(self) -> list[str]:
        """Where the whole contradicts its groups."""
        found: list[str] = []
        if sum(group.delta for group in self.groups) > self.delta * (1.0 + _DELTA_TOLERANCE):
            found.append("the groups' deltas add up to more than the delta")
        if len(self.thresholds) != len(self.groups):
            found.append("a group is stated twice")
        if self.threshold is not None or self.issuing is not None:
            found.append("with groups there is no common threshold")
        sums = _sums(self.groups)
        if (self.n_units, self.n_kept, self.k_errors) != sums:
            found.append(f"the groups add up to {sums[2]} errors among {sums[1]} kept of {sums[0]}")
        return found

    def statement(self) -> str:
        """What the certificate says, in sentences for a person."""
        tested = self.groups or (self._tally(),)
        if self.groups:
            head = sentences.kept_by_group(
                self.groups, self.group_by, self.risk, self.reference, target=self.target, delta=self.delta
            )
        else:
            head = sentences.kept(
                tested[0], self.risk, self.reference, self.sampling_unit, self.n_clusters, target=self.target
            )
        parts = (
            head,
            f"For: {self.population}. Assuming: {self.assumption}.",
            sentences.cut(tested, self.sampling_unit),
            sentences.promise(tested),
            f"Blind to {BLIND_TO[self.risk]}." if BLIND_TO[self.risk] else "",
            sentences.dependence(
                self.design_effect, self.cluster_unit, self.sampling_unit, is_by_cluster=self.unit == "cluster"
            ),
        )
        return " ".join(part for part in parts if part)


def fitting(certificate: Certificate) -> bytes:
    """Write a certificate that devices can read.

    Args:
        certificate: Any.

    Returns:
        Its canonical bytes.

    Raises:
        CertificateError: They are more than devices read.
    """
    data = certificate.to_json()
    if len(data) > MAX_CERTIFICATE_BYTES:
        what = f"{len(certificate.groups)} groups" if certificate.groups else "clusters of so many different sizes"
        raise CertificateError(
            f"the certificate takes {len(data)} bytes, and devices read {MAX_CERTIFICATE_BYTES} at most: {what} are "
            "too many; certify fewer groups, or fewer rows of each cluster (--largest-cluster)"
        )
    return data


def certificate_of(certified: Certified, circumstances: Circumstances) -> Certificate:
    """Write the outcome of a certification down.

    Args:
        certified: From `certify.certify`.
        circumstances: What it is about.

    Returns:
        The certificate.
    """
    numbers = {each.name: getattr(certified, each.name) for each in fields(certified)}
    return Certificate(**numbers, **asdict(circumstances))


def certificate_of_groups(grouped: Grouped, circumstances: Circumstances) -> Certificate:
    """Write the outcomes of a certification by groups down.

    Args:
        grouped: From `groups.certify_groups`.
        circumstances: What it is about.

    Returns:
        The certificate: no common threshold, and the groups' sums.
    """
    tallies = tuple(tally_of(name, certified) for name, certified in grouped.groups)
    outcomes = [certified for _, certified in grouped.groups]
    n_units, n_kept, k_errors = _sums(tallies)
    return Certificate(
        target=grouped.target,
        delta=grouped.delta,
        threshold=None,
        coverage=n_kept / n_units if n_kept else None,
        n_units=n_units,
        n_kept=n_kept,
        k_errors=k_errors,
        p_value=max((tally.p_value for tally in tallies if tally.threshold is not None), default=1.0),
        n_tune=sum(certified.n_tune for certified in outcomes),
        n_clusters=None,
        design_effect=None,
        method=next(certified.method for certified in outcomes if certified.n_tune),
        unit=outcomes[0].unit,
        groups=tallies,
        **asdict(circumstances),
    )


def _recomputed(tally: Tally, target: float) -> Recomputation:
    """Test one statement's counts again."""
    try:
        p_value = tally.recomputed(target)
    except ValueError as problem:
        return Recomputation(math.nan, (str(problem),))
    return Recomputation(p_value, (*tally.contradictions(p_value), *tally.issuing_contradictions(target)))


def _sums(groups: tuple[Tally, ...]) -> tuple[int, int, int]:
    """Cases of all groups; kept ones, and wrong ones among them, of those that have a threshold."""
    standing = [group for group in groups if group.threshold is not None]
    return (
        sum(group.n_units for group in groups),
        sum(group.n_kept for group in standing),
        sum(group.k_errors for group in standing),
    )


def _read(table: Table, *, is_newer: bool) -> Certificate:
    """Read the fields; problems are noted in the table."""
    table.text("schema")
    certificate = Certificate(
        risk=cast("Risk", table.text("risk", choices=RISKS)),
        reference=table.text("reference", _TEXT),
        target=table.number("target", LEAST_LEVEL, 1.0 - LEAST_LEVEL),
        delta=table.number("delta", LEAST_LEVEL, 1.0 - LEAST_LEVEL),
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
        **(_read_added(table) if is_newer else {}),
    )
    table.finish()
    return certificate


def _read_added(table: Table) -> dict[str, Any]:
    """Read what schema 2 has beyond schema 1."""
    return {
        "unit": table.text("unit", choices=("row", "cluster")),
        "evidence": read_evidence(table),
        "more_needed": table.integer("more_needed", 1, binomial.MAX_TRIALS) if table.has("more_needed") else None,
        "group_by": _optional_text(table, "group_by", _TEXT),
        "groups": tuple(read_tally(group) for group in table.tables("groups")),
        "issuing": read_issuing(table),
    }


def _optional_number(table: Table, key: str) -> float | None:
    """A finite number, or null."""
    return table.number(key, -math.inf) if table.has(key) else None


def _optional_text(table: Table, key: str, pattern: str) -> str | None:
    """A string, or null."""
    return table.text(key, pattern) if table.has(key) else None
