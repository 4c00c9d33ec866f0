"""A certificate speaks for exactly what it was issued for; age changes its state, never its use."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_agent.core.prediction import CertificateState
from edge_agent.packs.models import Kept, carries, certificate_use, kept_by
from model_packs.build import build_spec
from model_packs.certificate.document import Certificate
from model_packs.certificate.tally import Tally
from model_packs.digests import digest_of
from model_packs.engines.opening import open_session
from model_packs.engines.session import SessionFacts
from model_packs.golden import write_npy
from tests.simulators.packs import CHANNELS, SAMPLES, SPEC, weights, write_sources

GRAPH = digest_of(b"graph")
FACTS = SessionFacts("onnxruntime", "1.20", "CPUExecutionProvider", "fp32", "fp32", GRAPH, 1)
NOW_NS = 1_790_000_000_000_000_000  # 2026-09-21
CERTIFICATE = Certificate(
    risk="disagreement_with_hub",
    reference="tiny-hub@1.0.0",
    target=0.05,
    delta=0.05,
    method="binomial_fixed_sequence",
    threshold=0.9,
    coverage=0.8,
    sampling_unit="window",
    n_units=100,
    n_kept=80,
    k_errors=1,
    p_value=0.01,
    n_tune=10,
    cluster_unit=None,
    n_clusters=None,
    design_effect=None,
    population="tests",
    assumption="windows independent",
    graph_digest=GRAPH,
    variant="fp32",
    provider="CPUExecutionProvider",
    precision="fp32",
    dataset_digest=GRAPH,
    score="max_probability",
    temperature=1.0,
    issued_at="2026-01-01T00:00:00Z",
    valid_until="2027-01-01T00:00:00Z",
)


def test_the_same_graph_on_the_same_provider_is_certified() -> None:
    """The certificate is named by its digest."""
    use = certificate_use(CERTIFICATE, FACTS, NOW_NS, Kept(0.9))
    assert (use.digest, use.state) == (CERTIFICATE.digest, CertificateState.CERTIFIED)


@pytest.mark.parametrize(
    "facts",
    [
        replace(FACTS, provider="CUDAExecutionProvider"),
        replace(FACTS, precision="int8"),
        replace(FACTS, variant="int8"),
        replace(FACTS, graph_digest=digest_of(b"another")),
    ],
)
def test_anything_else_is_uncertified(facts: SessionFacts) -> None:
    """Another provider, variant, precision or graph was never measured."""
    assert certificate_use(CERTIFICATE, facts, NOW_NS, Kept(0.9)).state is CertificateState.UNCERTIFIED


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (replace(FACTS, provider="CUDAExecutionProvider"), CertificateState.CARRIED_OVER),
        (replace(FACTS, provider="CUDAExecutionProvider", precision="fp16"), CertificateState.UNCERTIFIED),
        (
            replace(FACTS, provider="CUDAExecutionProvider", graph_digest=digest_of(b"other")),
            CertificateState.UNCERTIFIED,
        ),
        (FACTS, CertificateState.CERTIFIED),
    ],
)
def test_another_provider_that_answers_alike_is_carried_over(facts: SessionFacts, state: CertificateState) -> None:
    """Golden examples speak for the provider, not for another precision or graph."""
    use = certificate_use(CERTIFICATE, facts, NOW_NS, Kept(0.9), is_carried=True)
    assert use.state is state


@pytest.mark.parametrize(("n_golden", "shift", "is_carried"), [(200, 0.0, True), (200, 1e-3, False), (199, 0.0, False)])
def test_enough_golden_examples_must_be_answered_as_recorded(
    tmp_path: Path, n_golden: int, shift: float, *, is_carried: bool
) -> None:
    """200 within the tolerance (1e-4 here); fewer, or others, carry nothing."""
    sources = tmp_path / "sources"
    sources.mkdir()
    write_sources(sources)
    windows = np.random.default_rng(2).normal(size=(n_golden, SAMPLES, CHANNELS)).astype(np.float32)
    logits = windows.reshape(n_golden, -1) @ weights() + np.float32(shift)
    (sources / "golden" / "window.npy").write_bytes(write_npy(windows))
    (sources / "golden" / "logits.npy").write_bytes(write_npy(logits))
    pack = build_spec(SPEC, sources, tmp_path / "layout", None)
    session = open_session(pack)
    assert carries(session, pack) is is_carried
    session.close()
    assert not carries(session, pack)  # an engine that fails carries nothing


def test_a_certificate_without_a_threshold_certifies_nothing() -> None:
    """Calibration may find no threshold that holds."""
    use = certificate_use(replace(CERTIFICATE, threshold=None, coverage=None), FACTS, NOW_NS, Kept())
    assert use.state is CertificateState.UNCERTIFIED


@pytest.mark.parametrize(("valid_until", "state"), [("2026-01-02T00:00:00Z", "expired"), (None, "certified")])
def test_age_changes_the_state(valid_until: str | None, state: str) -> None:
    """After its end it is expired; without an end it never is."""
    use = certificate_use(replace(CERTIFICATE, valid_until=valid_until), FACTS, NOW_NS, Kept(0.9))
    assert use.state.value == state


def grouped(group_by: str, **thresholds: float | None) -> Certificate:
    """A certificate with a threshold for each group."""
    tallies = tuple(
        Tally(name, 0.01, threshold, None if threshold is None else 0.8, 100, 80, 1, 0.01, None, None)
        for name, threshold in thresholds.items()
    )
    return replace(CERTIFICATE, threshold=None, group_by=group_by, groups=tallies)


def test_what_is_kept_by_class_is_each_class_s_own() -> None:
    """The lowest is what the hub is told; a class that nothing qualified for keeps nothing."""
    found = kept_by(grouped("predicted_class", walk=0.9, run=0.7, sit=None), "")
    assert found == Kept(0.7, {"walk": 0.9, "run": 0.7})
    assert certificate_use(grouped("predicted_class", walk=0.9), FACTS, NOW_NS, found).state == "certified"


@pytest.mark.parametrize(
    ("certificate", "site", "kept"),
    [
        (grouped("site", lyon=0.9, graz=0.7), "graz", Kept(0.7, group="graz")),
        (grouped("site", lyon=0.9, graz=None), "graz", Kept()),
        (grouped("site", lyon=0.9), "oslo", Kept()),
        (grouped("site", lyon=0.9), "", Kept()),
        (grouped("shift", early=0.9), "early", Kept()),
        (grouped("predicted_class", walk=None), "", Kept()),
        (CERTIFICATE, "graz", Kept(0.9)),
    ],
)
def test_a_site_keeps_by_its_own_threshold(certificate: Certificate, site: str, kept: Kept) -> None:
    """A site that is not stated, or is not known, keeps nothing; nor do groups that a device cannot tell apart."""
    assert kept_by(certificate, site) == kept
