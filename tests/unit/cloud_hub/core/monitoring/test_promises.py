"""A promise is read out of a certificate, and what promises nothing is no promise."""

import numpy as np
import pytest

from cloud_hub.core.monitoring.promises import promise_document, promise_in, promise_of, read_promise
from cloud_hub.core.monitoring.watch import WHOLE, Measure, Promise
from model_packs.certificate.certify import certify
from model_packs.certificate.document import Certificate, Circumstances, certificate_of, certificate_of_groups
from model_packs.certificate.groups import certify_groups
from model_packs.digests import digest_of

SCORES = np.linspace(0.0, 1.0, 400)
CIRCUMSTANCES = Circumstances(
    risk="disagreement_with_hub",
    reference="full@1.0.0",
    population="a test",
    assumption="independent",
    cluster_unit=None,
    graph_digest=digest_of(b"graph"),
    variant="fp32",
    provider="CPUExecutionProvider",
    precision="fp32",
    dataset_digest=digest_of(b"rows"),
    temperature=1.0,
    issued_at="2026-11-22T00:00:00Z",
    valid_until=None,
)


def certificate(*, is_right: bool = True) -> Certificate:
    """Of windows that are all right, or all wrong."""
    found = certify(SCORES, np.full(len(SCORES), is_right), target=0.05, delta=0.05)
    return certificate_of(found, CIRCUMSTANCES)


def test_a_certificate_promises_its_target() -> None:
    """At its level, for what it kept at calibration."""
    said = certificate()
    assert promise_of(said) == Promise(Measure.DISAGREEMENT, 0.05, 0.05, said.coverage, said.digest, (WHOLE,))
    assert promise_in(said.to_json()) == promise_of(said)


def test_what_keeps_nothing_promises_nothing() -> None:
    """No certificate, none that any threshold qualified for, and bytes that are none."""
    assert promise_of(None) is None
    assert promise_of(certificate(is_right=False)) is None
    assert promise_in(b"") is None
    assert promise_in(b"{}") is None


def test_a_certificate_by_group_promises_for_those_that_are_kept() -> None:
    """A group that is escalated whole has nothing to test."""
    groups = np.array(["a", "b"] * 200)
    found = certify_groups(SCORES, groups == "a", groups, target=0.05, delta=0.05)
    promise = promise_of(certificate_of_groups(found, CIRCUMSTANCES))
    assert promise is not None
    assert promise.groups == ("a",)


@pytest.mark.parametrize("groups", [(WHOLE,), ("a", "b")])
def test_a_promise_rests_as_json(groups: tuple[str, ...]) -> None:
    """And is read back as it was."""
    promise = Promise(Measure.ERROR, 0.05, 0.1, None, "sha256:1", groups)
    assert read_promise(promise_document(promise)) == promise
