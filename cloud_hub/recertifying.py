"""Owns recovery: a new certificate from what the field showed lately, signed, and wanted of the device as its policy.

Steps: 1. which pack the binding runs, and what its certificate is about; 2. the windows that came since the policy in
force began; 3. `model_packs.certificate` on those that count, thinned to a uniform sample and shuffled: what lays down
the order of tests is drawn from the whole time, by a seed that follows from the rows; 4. the statement signed with the
site key; 5. the policy in the twin. The pack stays as it is. A hub never does this by itself.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.monitoring.field_rows import Judged, judged_rows
from cloud_hub.core.monitoring.watch import Measure
from cloud_hub.core.policies import PolicyDesire
from cloud_hub.core.twin import DesiredTwin
from cloud_hub.errors import AssignmentError, DeviceAbsentError
from cloud_hub.ports import FleetRecords, PackFacts, PackShelf, PolicyBook
from model_packs.certificate import certify
from model_packs.certificate.certify import Certified, Unit
from model_packs.certificate.document import Certificate, Circumstances, certificate_of
from model_packs.certificate.errors import CertificateError
from model_packs.certificate.thinning import thin
from model_packs.digests import Digest, digest_of
from model_packs.manifest import PackRef
from model_packs.signing import SiteKey
from model_packs.strict_json import canonical
from protos.link.signed_policy import PolicyPlace, signed
from protos.messages.fleet import DesiredPolicy, PolicyMode
from protos.messages.inference import ModelUse

RECERTIFIED = "recertified"
"""The reason of such a policy."""

DRAWN_BY = "windows drawn by seed"
_NS_PER_S = 1_000_000_000
_MORE = "let more audits and labels come in, or choose a larger --target"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks for.

    Attributes:
        target: None: as the pack's certificate has it; `delta` likewise.
        unit: What is taken as an independent draw: windows, or whole days; None: as the pack's certificate has it.
        since_ns: Only what came since then counts; None: since the policy in force began.
        actor: Who asks.
        now_ns: Wall clock, Unix epoch, UTC.
    """

    device: DeviceKey
    binding: str
    target: float | None
    delta: float | None
    since_ns: int | None
    actor: str
    now_ns: int
    unit: Unit | None = None


@dataclass(frozen=True, slots=True)
class Recertified:
    """What came of it.

    Attributes:
        certified: The outcome, with or without a threshold.
        certificate: What the device gets; None without a threshold: nothing is changed then.
        desire: The same.
        twin: The same.
        n_rows: Windows that it rests on.
        n_missing: Of them, nobody has judged so far: they count as wrong.
    """

    certified: Certified
    certificate: Certificate | None
    desire: PolicyDesire | None
    twin: DesiredTwin | None
    n_rows: int
    n_missing: int


async def recertify(records: FleetRecords, book: PolicyBook, shelf: PackShelf, key: SiteKey, wish: Wish) -> Recertified:
    """Certify the pack of a binding anew on its own field, and want the threshold of the device.

    Args:
        records: What devices report.
        book: Where field data and policies are.
        shelf: The published packs.
        key: The site key, which devices trust for a lower threshold.
        wish: What is asked for.

    Returns:
        The outcome; that no threshold qualifies is one.

    Raises:
        DeviceAbsentError: The device is not enrolled, or no longer accepted.
        AssignmentError: There is no such binding, its pack or certificate is not here, or the rows do not do.
        StorageError: The database or the pack store cannot be used.
    """
    model = await _model(records, wish)
    before = await _certificate(shelf, model.pack)
    since_ns = wish.since_ns if wish.since_ns is not None else await _since_ns(book, wish, model.digest)
    judged = judged_rows(await book.field_rows(wish.device, wish.binding, model.digest, since_ns), Measure(before.risk))
    smallest = await _smallest_chance(book, wish, model.digest, since_ns)
    certified, used = _certified(judged, before, wish, smallest)
    if certified.threshold is None:
        return Recertified(certified, None, None, None, len(judged.ids), judged.n_missing)
    certificate = certificate_of(certified, _circumstances(before, used, wish, since_ns, certified.unit))
    place = PolicyPlace(wish.device.org_id, wish.device.site_id, wish.device.device_id, wish.binding)

    def make(version: int) -> PolicyDesire:
        policy = DesiredPolicy(
            version,
            PolicyMode.SERVE,
            certified.threshold,
            certificate=certificate.to_json(),
            pack_digest=model.digest,
        )
        return PolicyDesire(wish.binding, signed(key, place, policy), RECERTIFIED, wish.actor, wish.now_ns)

    twin, desire = await book.desire(wish.device, wish.binding, make)
    return Recertified(certified, certificate, desire, twin, len(judged.ids), judged.n_missing)


async def _model(records: FleetRecords, wish: Wish) -> ModelUse:
    facts = await records.facts(wish.device)
    if facts is None or facts.is_removed:
        raise DeviceAbsentError(str(wish.device))
    bindings = {} if facts.heartbeat is None else {one.binding: one.model for one in facts.heartbeat.bindings}
    model = bindings.get(wish.binding)
    if model is None:
        has = ", ".join(sorted(bindings)) or "none"
        raise AssignmentError(f"{wish.device} reports no binding {wish.binding[:80]!r}", f"choose one of: {has}")
    return model


async def _certificate(shelf: PackShelf, pack: str) -> Certificate:
    """What the pack's own certificate is about: risk, graph, variant, provider, score."""
    try:
        found = await shelf.pack(PackRef.parse(pack))
    except ValueError as error:
        raise AssignmentError(f"the device runs {pack!r}", "assign it a published pack") from error
    if not isinstance(found, PackFacts):
        raise AssignmentError(f"{pack} is not published here, or cannot be read", "cloud-hub packs publish LAYOUT")
    if found.certificate is None:
        raise AssignmentError(f"{pack} carries no certificate", "certify it before it is published: model-pack certify")
    return found.certificate


async def _since_ns(book: PolicyBook, wish: Wish, digest: str) -> int:
    """When the policy in force began, as far as the hub has heard of it; else: all that there is."""
    of_binding = [
        one.since_ns
        for one in await book.records(wish.device)
        if (one.key.binding, one.key.pack_digest) == (wish.binding, digest)
    ]
    return max(of_binding, default=0)


async def _smallest_chance(book: PolicyBook, wish: Wish, digest: str, since_ns: int) -> float:
    """The smallest chance with which any window came here: the lowest audit rate under which any was kept."""
    rates = [
        one.audit_rate
        for one in await book.records(wish.device)
        if (one.key.binding, one.key.pack_digest) == (wish.binding, digest)
        and one.audit_rate is not None
        and one.totals.kept > 0
        and (one.reported_at_ns or 0) >= since_ns
    ]
    return min(rates, default=1.0)


def _certified(judged: Judged, before: Certificate, wish: Wish, smallest: float) -> tuple[Certified, Judged]:
    """Run the procedure on a uniform sample of the rows; what is certified is what the sample stands for."""
    try:
        mask = thin(judged.inclusion, judged.ids, smallest)
        unit = before.unit if wish.unit is None else wish.unit
        used = shuffled(_chosen(judged, np.flatnonzero(mask)), unit)
        certified = certify(
            used.confidence,
            used.is_right,
            target=before.target if wish.target is None else wish.target,
            delta=before.delta if wish.delta is None else wish.delta,
            clusters=used.day,
            unit=unit,
        )
    except CertificateError as error:
        raise AssignmentError(str(error), _MORE) from error
    return certified, used


def _chosen(judged: Judged, places: NDArray[np.intp]) -> Judged:
    """These rows, in this order."""
    return replace(
        judged,
        confidence=judged.confidence[places],
        is_right=judged.is_right[places],
        inclusion=judged.inclusion[places],
        day=judged.day[places],
        ids=tuple(judged.ids[place] for place in places.tolist()),
    )


def shuffled(rows: Judged, unit: Unit) -> Judged:
    """Draw an order by lot, by a seed that follows from the rows.

    Args:
        rows: In the order of time.
        unit: Windows, or whole days, each of which stays in the order of time.

    Returns:
        The same rows.
    """
    draw = np.random.default_rng(_seed(rows))
    if unit == "row":
        return _chosen(rows, draw.permutation(len(rows.ids)))
    days, place = np.unique(rows.day, return_inverse=True)
    return _chosen(rows, np.argsort(draw.permutation(len(days))[place], kind="stable"))


def _rows_digest(rows: Judged) -> Digest:
    """The digest of the rows, whatever their order."""
    return digest_of(
        canonical(sorted([name, bool(right)] for name, right in zip(rows.ids, rows.is_right, strict=True)))
    )


def _seed(rows: Judged) -> int:
    """The first sixteen hexadecimal digits of the rows' digest, as a number."""
    return int(_rows_digest(rows).removeprefix("sha256:")[:16], 16)


def _circumstances(before: Certificate, used: Judged, wish: Wish, since_ns: int, unit: Unit) -> Circumstances:
    """The pack's own circumstances, with the field in the place of its data set."""
    independent = (
        "windows independent" if unit == "row" else "days independent, windows within one in any way dependent"
    )
    return Circumstances(
        risk=before.risk,
        reference=before.reference,
        population=f"{wish.binding} of {wish.device}, {_instant(since_ns)} to {_instant(wish.now_ns)}",
        assumption=f"{independent}; the field stays as it was in that time; tuning {DRAWN_BY} {_seed(used)}",
        cluster_unit="day",
        graph_digest=before.graph_digest,
        variant=before.variant,
        provider=before.provider,
        precision=before.precision,
        dataset_digest=_rows_digest(used),
        temperature=before.temperature,
        issued_at=_instant(wish.now_ns),
        valid_until=None,
        sampling_unit="day" if unit == "cluster" else before.sampling_unit,
        score=before.score,
    )


def _instant(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // _NS_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
