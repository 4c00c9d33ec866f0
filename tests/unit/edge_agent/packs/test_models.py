"""A certificate speaks for exactly what it was issued for; age changes its state, never its use."""

from dataclasses import replace

import pytest

from edge_agent.core.prediction import CertificateState
from edge_agent.packs.models import certificate_use
from model_packs.certificate.document import Certificate
from model_packs.digests import digest_of
from model_packs.engines.session import SessionFacts

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
    use = certificate_use(CERTIFICATE, FACTS, NOW_NS)
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
    assert certificate_use(CERTIFICATE, facts, NOW_NS).state is CertificateState.UNCERTIFIED


def test_a_certificate_without_a_threshold_certifies_nothing() -> None:
    """Calibration may find no threshold that holds."""
    use = certificate_use(replace(CERTIFICATE, threshold=None, coverage=None), FACTS, NOW_NS)
    assert use.state is CertificateState.UNCERTIFIED


@pytest.mark.parametrize(("valid_until", "state"), [("2026-01-02T00:00:00Z", "expired"), (None, "certified")])
def test_age_changes_the_state(valid_until: str | None, state: str) -> None:
    """After its end it is expired; without an end it never is."""
    use = certificate_use(replace(CERTIFICATE, valid_until=valid_until), FACTS, NOW_NS)
    assert use.state.value == state
