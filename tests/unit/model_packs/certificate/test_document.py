"""The certificate as a document: bytes, digest, sentences, recomputation."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_packs.certificate.certify import Certified, certify
from model_packs.certificate.document import ASSUMPTION, Certificate, Circumstances, certificate_of
from model_packs.certificate.errors import CertificateError
from model_packs.digests import digest_of

CIRCUMSTANCES = Circumstances(
    risk="error",
    reference="labels",
    population="right wrist",
    assumption=ASSUMPTION,
    cluster_unit="recording",
    graph_digest=digest_of(b"graph"),
    variant="fp32",
    provider="CPUExecutionProvider",
    precision="fp32",
    dataset_digest=digest_of(b"data"),
    temperature=1.5,
    issued_at="2026-11-21T00:00:00Z",
    valid_until=None,
)


def certified(n_units: int = 400, wrong: int = 4) -> Certified:
    """A certification of equal scores with some wrong answers."""
    correct = [index >= wrong for index in range(n_units)]
    clusters = [index // 10 for index in range(n_units)]
    return certify([0.9] * n_units, correct, target=0.05, delta=0.05, tune_scores=[0.9], clusters=clusters)


def test_the_sentences_name_what_was_counted() -> None:
    """An image family's certificate speaks of images, and says so after reading, too."""
    circumstances = dataclasses.replace(CIRCUMSTANCES, sampling_unit="image")
    read = Certificate.from_json(certificate_of(certified(), circumstances).to_json())

    assert read.sampling_unit == "image"
    assert read.statement().startswith("Keeping images scored")
    assert "window" not in read.statement().partition("Assuming")[0]


@settings(deadline=None)
@given(
    n_units=st.integers(124, 2000),
    wrong_percent=st.integers(0, 100),
    population=st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=500),
    valid_until=st.sampled_from([None, "2027-11-21T00:00:00Z"]),
)
def test_reading_what_was_written_gives_the_same_certificate(
    n_units: int, wrong_percent: int, population: str, valid_until: str | None
) -> None:
    """Bytes and certificate carry the same; whatever was certified is supported by its own counts."""
    circumstances = dataclasses.replace(CIRCUMSTANCES, population=population, valid_until=valid_until)
    certificate = certificate_of(certified(n_units, n_units * wrong_percent // 100), circumstances)

    read = Certificate.from_json(certificate.to_json())

    assert read == certificate
    assert read.digest == digest_of(certificate.to_json())
    assert read.recompute().holds
    assert read.recompute().p_value == certificate.p_value


def test_the_sentences_name_what_the_threshold_rests_on() -> None:
    """The statement names counts, population, assumption and the measured design effect, and no more."""
    certificate = certificate_of(certified(), CIRCUMSTANCES)

    text = certificate.statement()

    for part in ("4 wrong of 400 kept", "right wrist", ASSUMPTION, "design effect by recording: 4.", "at most 5.0%"):
        assert part in text
    assert "guarantee" not in (text + certificate.to_json().decode()).lower()


def test_no_threshold_is_said_as_such() -> None:
    """A certification without a threshold still makes a document that says so and holds."""
    certificate = certificate_of(certified(wrong=100), CIRCUMSTANCES)

    assert certificate.threshold is None
    assert certificate.statement().startswith("No threshold qualifies")
    assert certificate.recompute().holds


def test_a_design_effect_that_was_not_measured_is_said_as_such() -> None:
    """Without errors there is no design effect, and the statement does not pretend one."""
    assert "was not measured" in certificate_of(certified(wrong=0), CIRCUMSTANCES).statement()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"k_errors": 15, "p_value": 0.1544340711}, "do not support the threshold"),
        ({"p_value": 0.04}, "p-value of the counts"),
        ({"threshold": None, "coverage": None}, "yet none is stated"),
        ({"coverage": None}, "together or not at all"),
        ({"coverage": 0.5}, "is not 400 of 400"),
        ({"n_kept": 401}, "impossible counts"),
        ({"k_errors": 401}, "impossible counts"),
    ],
)
def test_a_document_that_contradicts_its_counts_does_not_hold(change: dict[str, float | None], problem: str) -> None:
    """Recomputing from the counts finds every edited figure."""
    certificate = dataclasses.replace(certificate_of(certified(), CIRCUMSTANCES), **change)  # type: ignore[arg-type] # a table of changes

    found = certificate.recompute()

    assert not found.holds
    assert any(problem in text for text in found.problems)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schema": "tandem.certificate/2"}, "newer program"),
        ({"surprise": 1}, "surprise: unknown key"),
        ({"target": 5}, "target"),
        ({"risk": "luck"}, "risk"),
        ({"graph_digest": "md5:1"}, "graph_digest"),
        ({"issued_at": "yesterday"}, "issued_at"),
        ({"n_units": 1.5}, "n_units"),
    ],
)
def test_a_document_of_another_shape_is_refused(change: dict[str, object], problem: str) -> None:
    """Unknown schemas, unknown keys and wrong values are refused by name."""
    value = json.loads(certificate_of(certified(), CIRCUMSTANCES).to_json()) | change

    with pytest.raises(CertificateError, match=problem):
        Certificate.from_json(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def test_other_bytes_of_the_same_content_are_refused() -> None:
    """Only the canonical form is read, so that one certificate has one digest."""
    value = json.loads(certificate_of(certified(), CIRCUMSTANCES).to_json())

    with pytest.raises(CertificateError, match="canonical"):
        Certificate.from_json(json.dumps(value).encode())
    with pytest.raises(CertificateError, match="not readable"):
        Certificate.from_json(b"\xff")
