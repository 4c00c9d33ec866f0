"""How orders of the hub change what a running binding keeps: at once, durably, and only if somebody is trusted."""

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge_agent.adapters import slot_file
from edge_agent.adapters.sqlite.policy_totals import PolicyTotals
from edge_agent.core.prediction import CertificateState
from edge_agent.reporting.policy_reports import policy_reports
from model_packs.certificate import certify
from model_packs.certificate.document import Certificate, Circumstances, certificate_of
from model_packs.signing import SiteKey, generate_site_key
from protos.link.identity import DeviceIdentity
from protos.link.signed_policy import PolicyPlace, signed
from protos.messages.fleet import DesiredPolicy, DesiredSlot, PolicyMode, PolicyReport, PolicyState
from tests.simulators.pack_device import BINDING, PackDevice, booted, write_device

PLACE = PolicyPlace("acme", "plant-1", "press-07", BINDING)


def enrolled(folder: Path, site: SiteKey) -> None:
    """Leave an identity for acme / plant-1 / press-07 on the device's disk."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "press-07")])
    uri = x509.UniformResourceIdentifier("spiffe://tandem/org/acme/site/plant-1/device/press-07")
    now = datetime.now(UTC)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    DeviceIdentity.from_parts(key_pem=private, chain_pem=leaf, ca_pem=leaf, site_key_pem=site.public.pem.encode()).save(
        folder
    )


@pytest.fixture
def key(tmp_path: Path) -> SiteKey:
    """The key that the device trusts."""
    return write_device(tmp_path)


@pytest.fixture
def device(tmp_path: Path, key: SiteKey) -> Iterator[PackDevice]:
    """An enrolled device; its factory pack has no certificate, so it keeps nothing by itself."""
    with booted(tmp_path) as device:
        enrolled(device.config.agent.device.identity_dir, key)
        yield device


def certificate(device: PackDevice) -> Certificate:
    """A certificate of the model that runs, from 600 rows without an error."""
    facts = device.models.opened[BINDING].facts
    scores = np.linspace(0.2, 1.0, 600)
    certified = certify(scores, np.ones(600, dtype=np.bool_), target=0.05, delta=0.05)
    return certificate_of(
        certified,
        Circumstances(
            risk="disagreement_with_hub",
            reference="tiny-hub@1.0.0",
            population="tests",
            assumption="windows independent",
            cluster_unit=None,
            graph_digest=facts.graph_digest,
            variant=facts.variant,
            provider=facts.provider,
            precision=facts.precision,
            dataset_digest=facts.graph_digest,
            temperature=1.0,
            issued_at="2026-01-01T00:00:00Z",
            valid_until=None,
        ),
    )


def lower(device: PackDevice, version: int = 1) -> DesiredPolicy:
    """An order to serve by a certificate, not signed yet."""
    backed = certificate(device)
    return DesiredPolicy(version, PolicyMode.SERVE, backed.threshold, certificate=backed.to_json())


def events(device: PackDevice, count: int = 1) -> list[dict[str, Any]]:
    """What the binding answers now."""
    return [json.loads(one.publish.payload) for one in device.ask(count)]


def reports(device: PackDevice, *totals: PolicyTotals) -> tuple[PolicyReport, ...]:
    """What the hub is told."""
    models = {name: one.model for name, one in device.models.opened.items()}
    return policy_reports(models, totals, device.models.policies.of)


def test_a_signed_certificate_lets_the_device_keep_more(device: PackDevice, key: SiteKey) -> None:
    """From the next pass on, with the certificate in the events; the pack is the same."""
    assert events(device)[0]["escalation"]["reason"] == "low_confidence"
    before = device.runs
    policy = signed(key, PLACE, lower(device))
    device.order(policy)
    device.step()
    model = device.models.opened[BINDING].model
    assert (model.policy.threshold, model.policy.version) == (policy.threshold, 1)
    assert model.certificate is not None
    assert (model.certificate.digest, model.certificate.state) == (
        certificate(device).digest,
        CertificateState.CERTIFIED,
    )
    assert events(device)[0]["escalation"]["policy_version"] == 1
    assert device.runs == before


def test_nobody_else_lets_it_keep_more(device: PackDevice, key: SiteKey, tmp_path: Path) -> None:
    """Not without a signature, nor with a stranger's, nor for another place, threshold or model."""
    good = lower(device)
    stranger = generate_site_key(tmp_path / "stranger.key")
    elsewhere = replace(PLACE, device_id="press-08")
    assert good.threshold is not None
    other = replace(certificate(device), graph_digest=certificate(device).digest)
    wrong = [
        good,
        signed(stranger, PLACE, good),
        signed(key, elsewhere, good),
        replace(signed(key, PLACE, good), threshold=good.threshold / 2),
        signed(key, PLACE, replace(good, threshold=good.threshold / 2)),
        signed(key, PLACE, replace(good, certificate=b"")),
        signed(key, PLACE, replace(good, certificate=replace(certificate(device), k_errors=90).to_json())),
        signed(key, PLACE, replace(good, certificate=other.to_json())),
    ]
    for number, policy in enumerate(wrong):
        device.slots.change_all(lambda now: replace(now, policies={}))
        device.order(policy)
        device.step()
        assert device.models.opened[BINDING].model.policy.threshold is None, number
        refused = [one for one in reports(device) if one.state is PolicyState.REFUSED]
        assert len(refused) == 1, number
        assert refused[0].detail


def test_to_escalate_everything_works_at_once_and_outlives_a_restart(
    device: PackDevice, key: SiteKey, tmp_path: Path
) -> None:
    """The order is on the disk; a new process begins with it, and refuses to go back to an older one."""
    device.order(signed(key, PLACE, lower(device)))
    device.order(DesiredPolicy(2, PolicyMode.HUB_ONLY, audit_rate=0.0))
    device.step()
    assert events(device)[0]["escalation"]["reason"] == "forced"
    with booted(tmp_path) as again:
        assert events(again)[0]["escalation"]["reason"] == "forced"
        again.order(signed(key, PLACE, lower(again)))
        assert events(again)[0]["escalation"]["policy_version"] == 2


def test_a_refuted_certificate_is_void_in_every_event(device: PackDevice, key: SiteKey) -> None:
    """What the tightened policy still keeps carries the certificate's digest, and says that it is void."""
    device.order(signed(key, PLACE, lower(device)))
    backed = certificate(device)
    assert backed.threshold is not None
    higher = backed.threshold + 0.01
    device.order(DesiredPolicy(2, PolicyMode.TIGHTEN, higher, voided_certificate=backed.digest))
    device.step()
    model = device.models.opened[BINDING].model
    assert (model.policy.threshold, model.policy.version) == (higher, 2)
    assert model.certificate is not None
    assert model.certificate.state is CertificateState.VOID


def test_a_tightened_policy_is_not_backed_by_a_certificate_of_another_threshold(
    device: PackDevice, key: SiteKey
) -> None:
    """The share of errors among fewer kept answers may be larger: nothing is claimed of it."""
    device.order(signed(key, PLACE, lower(device)))
    device.order(DesiredPolicy(2, PolicyMode.TIGHTEN, 1.0))
    device.step()
    used = device.models.opened[BINDING].model.certificate
    assert used is not None
    assert used.state is CertificateState.UNCERTIFIED


def test_a_full_disk_does_not_keep_a_policy_from_being_tightened(
    device: PackDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is applied from memory, and written once the disk takes it."""

    def disk_is_full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(slot_file, "write_file", disk_is_full)
        device.models.policies.take(
            replace(
                device.slots.read().desired,
                slots=(DesiredSlot(BINDING, "", "", DesiredPolicy(1, PolicyMode.HUB_ONLY)),),
            ),
            {BINDING: (device.models.opened[BINDING].terms, device.models.opened[BINDING].facts)},
        )
        device.step()
        assert events(device)[0]["escalation"]["reason"] == "forced"
        assert BINDING not in device.slots.read().policies
    device.step()
    assert device.slots.read().policies[BINDING].version == 1


def test_the_hub_is_told_of_the_policy_in_force_of_open_former_ones_and_of_the_last_refused(
    device: PackDevice,
) -> None:
    """Counts are the rows'; the active one is told before it has decided anything."""
    device.order(DesiredPolicy(3, PolicyMode.HUB_ONLY))
    device.order(DesiredPolicy(4, PolicyMode.TIGHTEN, 0.5))
    device.step()
    use = device.models.opened[BINDING].model.use
    former = [
        PolicyTotals(BINDING, use.digest, version, use.pack, 10, 5, 4, 1, 0, 3, 3 - (version == 9), 0, 0.8, 0.1, 1)
        for version in (0, 5, 6, 7, 8, 9)
    ]
    told = reports(device, *former)
    assert [(one.policy_version, one.state.value) for one in told] == [
        (3, "active"),
        (0, "former"),
        (5, "former"),
        (6, "former"),
        (7, "former"),
        (9, "former"),
        (4, "refused"),
    ]
    assert (told[0].threshold, told[0].decided) == (None, 0)
    assert (told[1].decided, told[1].kept, told[1].escalated, told[1].audits_drawn) == (10, 5, 4, 3)
