"""Owns how a published pack is told: what it promises, who runs it or should, and what a binding may change to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cloud_hub.core.console.fleet_view import Moment, slot_state, statuses
from cloud_hub.core.console.wording import State, confidence, percent
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.registry import DeviceFacts, Place, desired_places, running_places
from cloud_hub.core.twin import SlotStatus
from model_packs.certificate.document import Certificate
from model_packs.manifest import PackManifest, PackRef

_RISKS = {
    "error": "wrong",
    "disagreement_with_hub": "something else than the hub would say",
    "excess": "wrong where the hub is right",
}


@dataclass(frozen=True, slots=True)
class PackUse:
    """How many devices run a pack, as last said, and how many should: what they were asked for, or came with."""

    running: int
    desired: int


@dataclass(frozen=True, slots=True)
class PackHolder:
    """One binding that runs, or should run, a pack."""

    device: DeviceKey
    status: SlotStatus
    state: State


@dataclass(frozen=True, slots=True)
class Offer:
    """One published pack, as far as choosing needs it."""

    manifest: PackManifest
    certificate: Certificate | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Choice:
    """One pack that a binding may change to.

    Attributes:
        is_running: The binding runs it now.
        is_settled: And nothing else is asked for: there is nothing to change.
        problem: Why it failed here; empty when it has not.
    """

    ref: PackRef
    size_bytes: int
    certificate: str
    is_running: bool
    is_desired: bool
    is_settled: bool
    problem: str


def promise(certificate: Certificate | None, manifest: PackManifest) -> str:
    """Say what a pack's certificate promises, in a sentence.

    Args:
        certificate: What backs its threshold.
        manifest: The pack's statement.

    Returns:
        The sentence, with the statement's limits left to `conditions`.
    """
    if certificate is None:
        what = "it answers whatever it is asked" if manifest.role == "hub" else "it asks the hub about everything"
        return f"No certificate: {what}."
    if certificate.groups:
        return f"Thresholds by {certificate.group_by or 'group'} and none for all: it asks the hub about everything."
    if certificate.threshold is None:
        return "No threshold passed its test: it asks the hub about everything."
    kept = "" if certificate.coverage is None else f", {percent(certificate.coverage)} % of the windows"
    return (
        f"Of what it keeps{kept}, at most {_round(certificate.target)} % is {_RISKS[certificate.risk]}, "
        f"with {_round(1 - certificate.delta)} % confidence."
    )


def conditions(certificate: Certificate) -> tuple[tuple[str, str], ...]:
    """Say under which conditions the promise holds.

    Args:
        certificate: The certificate.

    Returns:
        Names and texts.
    """
    counted = f"{certificate.k_errors} of {certificate.n_kept} kept, {certificate.n_units} in all"
    mark = certificate.threshold
    facts = [
        ("Keeps from", "nothing" if mark is None else f"confidence {confidence(mark)}"),
        ("Holds for", certificate.population),
        ("Assumes", certificate.assumption),
        ("Counted per", certificate.sampling_unit),
        ("Wrong when tested", counted),
    ]
    if certificate.design_effect is not None and certificate.cluster_unit is not None:
        effect = f"{certificate.design_effect:.2f} by {certificate.cluster_unit}; above 1, the number says too much"
        facts.append(("Design effect", effect))
    facts.append(("Issued", certificate.issued_at))
    facts.append(("Valid until", certificate.valid_until or "no end stated"))
    return tuple(facts)


def uses(devices: Sequence[DeviceFacts]) -> Mapping[str, PackUse]:
    """Count who runs what, and who should.

    Args:
        devices: The registry; removed devices do not count.

    Returns:
        By `name@version`, each device once.
    """
    running, asked = running_places(devices), desired_places(devices)
    taken = {place for places in asked.values() for place in places}
    own = {pack: tuple(one for one in places if one not in taken) for pack, places in running.items()}
    desired = {pack: (*asked.get(pack, ()), *own.get(pack, ())) for pack in asked.keys() | own.keys()}
    return {
        pack: PackUse(_devices(running.get(pack, ())), _devices(desired.get(pack, ())))
        for pack in running.keys() | desired.keys()
    }


def holders(devices: Iterable[DeviceFacts], pack: str, moment: Moment) -> tuple[PackHolder, ...]:
    """List the bindings that run a pack, or should.

    Args:
        devices: The registry; removed devices do not count.
        pack: `name@version`.
        moment: When.

    Returns:
        By device and binding.
    """
    return tuple(
        PackHolder(one.key, slot, slot_state(slot, one, moment))
        for one in devices
        if not one.is_removed
        for slot in statuses(one, moment)
        if pack in (slot.desired_pack, slot.reported_pack)
    )


def choices(packs: Sequence[Offer], status: SlotStatus, failures: Mapping[str, str]) -> tuple[Choice, ...]:
    """List what a binding may change to: edge packs of the family that it runs, the newest name first.

    Args:
        packs: All published packs.
        status: The binding, both sides compared.
        failures: Why packs failed on this binding, by `name@version`.

    Returns:
        The choices; all edge packs when the family that runs is not published here.
    """
    edge = [one for one in packs if one.manifest.role == "edge"]
    known = {str(one.manifest.ref): one.manifest.family for one in edge}
    family = known.get(status.reported_pack or "")
    fitting = [one for one in edge if family is None or one.manifest.family == family]
    return tuple(
        _choice(one, status, failures) for one in sorted(fitting, key=lambda one: one.manifest.ref, reverse=True)
    )


def _choice(offer: Offer, status: SlotStatus, failures: Mapping[str, str]) -> Choice:
    pack = str(offer.manifest.ref)
    is_running = pack == status.reported_pack
    return Choice(
        ref=offer.manifest.ref,
        size_bytes=offer.size_bytes,
        certificate=promise(offer.certificate, offer.manifest),
        is_running=is_running,
        is_desired=pack == status.desired_pack,
        is_settled=is_running and status.desired_pack in (None, pack),
        problem=failures.get(pack, ""),
    )


def _round(fraction: float) -> str:
    """A stated share, as it was stated: `5`, `0.5`."""
    return f"{fraction * 100:.3g}"


def _devices(places: Iterable[Place]) -> int:
    return len({place.device for place in places})
