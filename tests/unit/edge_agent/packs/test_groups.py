"""A pack that is certified by group keeps by group on the device: by class, or by the site that the device is at."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from edge_agent.config import load
from edge_agent.core.prediction import CertificateState
from model_packs.certificate.document import Certificate, Circumstances, certificate_of_groups
from model_packs.certificate.groups import certify_groups
from model_packs.digests import digest_of
from protos.messages.fleet import DesiredPolicy, PolicyMode
from tests.simulators.onnx_bytes import linear_graph
from tests.simulators.pack_device import BINDING, booted, write_device
from tests.simulators.packs import CHANNELS, LABELS, SAMPLES, weights
from tests.unit.edge_agent.packs.test_policies import enrolled

ROWS = 800
ANSWER = LABELS[0]
"""What the tiny pack answers where all inputs are 0, as sure as if it guessed."""


def by_group(group_by: str, kept: Mapping[str, bool]) -> Certificate:
    """A certificate of the factory pack: in groups that are kept no row is wrong, in the others all are."""
    score = np.tile(np.linspace(0.1, 1.0, ROWS), len(kept))
    names = np.repeat(list(kept), ROWS)
    found = certify_groups(score, np.repeat(list(kept.values()), ROWS), names, target=0.05, delta=0.05)
    graph = digest_of(linear_graph(weights(), samples=SAMPLES, channels=CHANNELS))
    return certificate_of_groups(
        found,
        Circumstances(
            risk="disagreement_with_hub",
            reference="tiny-hub@1.0.0",
            population="tests",
            assumption="windows independent",
            cluster_unit=None,
            graph_digest=graph,
            variant="fp32",
            provider="CPUExecutionProvider",
            precision="fp32",
            dataset_digest=graph,
            temperature=1.0,
            issued_at="2026-01-01T00:00:00Z",
            valid_until=None,
            group_by=group_by,
        ),
    )


@pytest.mark.parametrize(
    ("group_by", "kept", "group", "state"),
    [
        ("predicted_class", {ANSWER: True, LABELS[1]: False}, "", "certified"),
        ("site", {"plant-1": True, "plant-2": False}, "plant-1", "certified"),
    ],
)
def test_the_group_of_an_answer_keeps_it(
    tmp_path: Path, group_by: str, kept: Mapping[str, bool], group: str, state: str
) -> None:
    """What its group's threshold keeps is final and certified."""
    key = write_device(tmp_path, certificate=by_group(group_by, kept))
    enrolled(load(tmp_path / "agent.toml").agent.device.identity_dir, key)
    with booted(tmp_path) as device:
        model = device.models.opened[BINDING].model
        assert device.ask()[0].status == "final"
        assert model.policy.group == group
        assert model.certificate is not None
        assert model.certificate.state.value == state


@pytest.mark.parametrize(
    ("group_by", "kept"),
    [
        ("predicted_class", {ANSWER: False, LABELS[1]: True}),
        ("site", {"plant-1": False, "plant-2": True}),
        ("shift", {"early": True, "late": True}),
    ],
)
def test_what_no_group_keeps_goes_to_the_hub(tmp_path: Path, group_by: str, kept: Mapping[str, bool]) -> None:
    """Another class's or site's threshold does not speak for it, nor do groups that a device cannot tell apart."""
    key = write_device(tmp_path, certificate=by_group(group_by, kept))
    enrolled(load(tmp_path / "agent.toml").agent.device.identity_dir, key)
    with booted(tmp_path) as device:
        (decided,) = device.ask()
        assert decided.status == "provisional"
        assert decided.escalate is not None
        assert decided.escalate.group == ANSWER


def test_an_escalation_names_the_site_where_groups_are_sites(tmp_path: Path) -> None:
    """The hub tests each site's promise apart."""
    key = write_device(tmp_path, certificate=by_group("site", {"plant-1": True}))
    enrolled(load(tmp_path / "agent.toml").agent.device.identity_dir, key)
    with booted(tmp_path) as device:
        device.order(DesiredPolicy(1, PolicyMode.TIGHTEN, 0.9))
        device.step()
        (decided,) = device.ask()
        assert decided.escalate is not None
        assert decided.escalate.group == "plant-1"


def test_the_hub_may_raise_what_groups_keep_by(tmp_path: Path) -> None:
    """Above the lowest of their thresholds it holds for all groups, and the certificate says no longer what is kept."""
    write_device(tmp_path, certificate=by_group("predicted_class", {ANSWER: True}))
    with booted(tmp_path) as device:
        assert device.ask()[0].status == "final"
        device.order(DesiredPolicy(1, PolicyMode.TIGHTEN, 0.9))
        device.step()
        model = device.models.opened[BINDING].model
        assert (model.policy.threshold, set(model.policy.group_thresholds)) == (0.9, {ANSWER})
        assert model.certificate is not None
        assert model.certificate.state is CertificateState.UNCERTIFIED
        assert device.ask()[0].status == "provisional"
