"""The certificate as a document: bytes, digest, sentences, recomputation."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_packs.certificate.certify import Certified, certify
from model_packs.certificate.document import (
    ASSUMPTION,
    Certificate,
    Circumstances,
    certificate_of,
    certificate_of_groups,
    fitting,
)
from model_packs.certificate.errors import CertificateError
from model_packs.certificate.evidence import Clusters, Order
from model_packs.certificate.groups import certify_groups
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


@pytest.mark.parametrize(("delta", "confidence"), [(0.05, "95%"), (0.005, "99.5%"), (0.001, "99.9%")])
def test_no_confidence_is_rounded_up_to_certainty(delta: float, confidence: str) -> None:
    """A small delta is told with all its digits: nothing is said with 100 %."""
    certificate = dataclasses.replace(certificate_of(certified(), CIRCUMSTANCES), delta=delta)
    assert f"with confidence {confidence} (" in certificate.statement()


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
        ({"schema": "tandem.certificate/5"}, "newer program"),
        ({"schema": "tandem.certificate/2"}, "unit: missing"),
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


def by_order() -> Certificate:
    """A certificate of betting on rows in their order, with an error more than the exact test bears."""
    correct = [0, 0, *[1] * 38, 0, *[1] * 109]
    outcome = certify([0.9] * 150, correct, target=0.05, delta=0.05, tune_scores=[0.9], method="betting")
    return certificate_of(outcome, CIRCUMSTANCES)


def by_cluster(wrong: int = 4) -> Certificate:
    """A certificate whose unit is the recording."""
    outcome = certify(
        [0.9] * 4000,
        [index >= 2000 or index % 500 >= wrong for index in range(4000)],
        target=0.05,
        delta=0.05,
        clusters=[index // 10 for index in range(4000)],
        unit="cluster",
    )
    return certificate_of(outcome, dataclasses.replace(CIRCUMSTANCES, sampling_unit="recording"))


def by_group() -> Certificate:
    """A certificate with a threshold for each of two classes; a third has too few rows."""
    classes = ["a"] * 400 + ["b"] * 600 + ["c"] * 10
    grouped = certify_groups([0.9] * 1010, [1] * 1010, classes, target=0.05, delta=0.05, promise="drawn")
    return certificate_of_groups(grouped, dataclasses.replace(CIRCUMSTANCES, group_by="predicted_class"))


def without_threshold() -> Certificate:
    """A certificate of too few rows for their errors."""
    outcome = certify([0.9] * 200, [0] * 6 + [1] * 194, target=0.05, delta=0.05, tune_scores=[0.9])
    return certificate_of(outcome, CIRCUMSTANCES)


NEWER = {"order": by_order, "cluster": by_cluster, "group": by_group, "none": without_threshold}


@pytest.mark.parametrize("kind", NEWER)
def test_what_the_first_schema_cannot_hold_is_written_in_the_second(kind: str) -> None:
    """Evidence, units, groups and forecasts survive writing and reading, and their counts support them."""
    certificate = NEWER[kind]()

    read = Certificate.from_json(certificate.to_json())

    assert json.loads(certificate.to_json())["schema"] == "tandem.certificate/2"
    assert read == certificate
    assert read.recompute().holds, read.recompute().problems
    assert read.recompute().p_value == certificate.p_value


def test_what_the_first_schema_can_hold_stays_in_it() -> None:
    """An exact certificate of rows keeps its keys, and so its digest."""
    document = json.loads(certificate_of(certified(), CIRCUMSTANCES).to_json())

    assert document["schema"] == "tandem.certificate/1"
    assert not document.keys() & {"unit", "evidence", "more_needed", "group_by", "groups"}


def test_the_sentences_name_the_unit_the_blind_part_and_what_is_missing() -> None:
    """Clusters are named as the unit; a weaker risk says what it does not see; a failure says what it takes."""
    weaker = dataclasses.replace(by_order(), risk="disagreement_with_hub", reference="big@1.0.0")

    assert "cases from 280 calibration recordings" in by_cluster().statement()
    assert "as sensitivity only" in by_cluster().statement()
    assert "Blind to cases where edge and hub give the same wrong answer" in weaker.statement()
    assert "Blind" not in by_order().statement()
    assert "more judged windows like these would do" in without_threshold().statement()


def test_the_sentences_name_each_group() -> None:
    """Groups are told apart, and one that keeps nothing is said to."""
    certificate = by_group()

    text = certificate.statement()

    assert certificate.thresholds == {"a": 0.9, "b": 0.9, "c": None}
    assert (certificate.threshold, certificate.n_kept, certificate.n_units) == (None, 700, 710)
    for part in ("by predicted_class", "a: scored 0.9000 or more (100.0% of 280", "c: nothing", "95% in all"):
        assert part in text


@pytest.mark.parametrize(
    ("kind", "change", "problem"),
    [
        ("order", {"evidence": Order(151)}, "cannot be row 151"),
        ("order", {"evidence": Order(100)}, "p-value of the counts"),
        ("order", {"evidence": None}, "do not support the threshold"),
        ("order", {"unit": "cluster"}, "evidence is about another"),
        ("cluster", {"evidence": Clusters(((10, 0, 280),), 10, (1.0,))}, "do not add up"),
        ("cluster", {"unit": "row"}, "evidence is about another"),
        ("group", {"threshold": 0.9}, "no common threshold"),
        ("group", {"n_kept": 709}, "add up to 0 errors among 700 kept"),
        ("group", {"delta": 0.04}, "add up to more than the delta"),
        ("group", {"unit": "cluster"}, "evidence is about another"),
    ],
)
def test_an_edited_second_schema_does_not_hold(kind: str, change: dict[str, object], problem: str) -> None:
    """Evidence, unit and groups are checked against the counts like every other figure."""
    certificate = dataclasses.replace(NEWER[kind](), **change)  # type: ignore[arg-type] # a table of changes

    found = certificate.recompute()

    assert not found.holds
    assert any(problem in text for text in found.problems), found.problems


def test_a_group_that_contradicts_its_counts_or_comes_twice_is_named() -> None:
    """Problems inside a group carry its name."""
    certificate = by_group()
    first, second, third = certificate.groups
    edited = dataclasses.replace(first, k_errors=200)

    found = dataclasses.replace(certificate, groups=(edited, second, third)).recompute()
    twice = dataclasses.replace(certificate, groups=(first, dataclasses.replace(second, group="a"), third)).recompute()

    assert any(text.startswith("group a: ") for text in found.problems)
    assert "a group is stated twice" in twice.problems


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kept": [10]}, "equally long"),
        ({"kept": [11, 10]}, "0 to 10 kept rows"),
        ({"largest": 0}, "largest"),
        ({"bet": 2}, "bet"),
        ({"luck": 1}, "luck: unknown key"),
    ],
)
def test_evidence_of_another_shape_is_refused(change: dict[str, object], problem: str) -> None:
    """The evidence is read as strictly as the rest."""
    value = json.loads(by_cluster(wrong=5).to_json())
    value["evidence"] |= change

    with pytest.raises(CertificateError, match=problem):
        Certificate.from_json(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def test_a_certificate_that_no_device_would_read_is_refused() -> None:
    """The message says how long it is, and what would make it shorter."""
    one = by_group().groups[0]
    many = dataclasses.replace(by_group(), groups=tuple(dataclasses.replace(one, group=str(n)) for n in range(400)))
    assert fitting(by_group()) == by_group().to_json()
    with pytest.raises(CertificateError, match="devices read 65536 at most: 400 groups are too many"):
        fitting(many)
