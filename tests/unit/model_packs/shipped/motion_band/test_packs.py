"""The committed packs: whole, small, backed by their certificates, built from the committed sources."""

import json
from pathlib import Path

import pytest

from model_packs.manifest import PackRef
from model_packs.pack import Pack
from model_packs.shipped.motion_band import dataset, split
from model_packs.shipped.motion_band.training.sources import ALL_SOURCES, FAMILY, TRAINING_SOURCES, source_digests
from model_packs.store import PackStore
from model_packs.verification import check_certificate, check_golden

FIRST, SECOND, HUB = "motion-band-edge@1.0.0", "motion-band-edge@2.0.0", "motion-band-hub@1.0.0"
ALL = (FIRST, SECOND, HUB)


def layout_of(ref: str) -> Path:
    """The folder that holds a pack."""
    return FAMILY / "packs" / ref.replace("@", "-")


def load(ref: str) -> Pack:
    """The committed pack, every digest checked."""
    store = PackStore(layout_of(ref))
    store.open()
    return store.load(PackRef.parse(ref), None)


@pytest.mark.parametrize("ref", ALL)
def test_the_committed_pack_gives_its_golden_outputs(ref: str) -> None:
    """Digests hold, and the graph gives what was recorded when it was built."""
    pack = load(ref)

    found = check_golden(pack)

    assert found.is_ok, found.detail
    assert pack.manifest.golden is not None
    assert pack.manifest.golden.n_examples == 64


DIGESTS = {
    FIRST: "sha256:a3fd8a479e5320b7999d2c73b5f878a86b2c8d585a544b8f9387b94a1872e019",
    SECOND: "sha256:3ccb710bd4deed5805e4ae51bcd6ffd4727f240dddcbaf5cf5d3214f5e63a0ac",
    HUB: "sha256:e977ceb4106224b7e6c5a191904e013fe1962d7965ed3da8b9ca57b00ae5cfd8",
}


@pytest.mark.parametrize("ref", ALL)
def test_the_committed_pack_keeps_its_digest(ref: str) -> None:
    """The schema may grow, but a published version's canonical bytes, and so its digest, never change."""
    assert load(ref).manifest.digest == DIGESTS[ref]


@pytest.mark.parametrize("ref", [FIRST, SECOND])
def test_the_committed_certificate_holds(ref: str) -> None:
    """The counts give the p-value again, and the statement is about this graph, data and temperature."""
    pack = load(ref)
    certificate = pack.certificate

    assert certificate is not None
    assert check_certificate(pack).is_ok
    assert certificate.threshold is not None
    assert certificate.dataset_digest == f"sha256:{dataset.SHA256}"
    assert certificate.sampling_unit == "window"
    assert certificate.design_effect is not None


def test_the_first_certificate_is_for_the_right_wrist() -> None:
    """The first student's statement names its assumption and population as they were measured."""
    certificate = load(FIRST).certificate

    assert certificate is not None
    assert certificate.assumption == "windows independent, same persons and wrist"
    assert certificate.population.startswith("right wrist;")


@pytest.mark.parametrize("ref", ALL)
def test_the_packs_were_built_from_the_committed_sources(ref: str) -> None:
    """Whoever edits a source of the packs rebuilds them (`make packs`): the digests in the provenance say so."""
    provenance = load(ref).manifest.provenance

    recorded = {key.removeprefix("source:"): value for key, value in provenance.items() if key.startswith("source:")}

    assert recorded == source_digests()


def test_all_training_code_is_among_the_recorded_sources() -> None:
    """No module of the training is left out of the digests."""
    modules = {f"training/{path.name}" for path in (FAMILY / "training").glob("*.py")} - {"training/__init__.py"}

    assert modules <= set(ALL_SOURCES)


def test_the_cross_subject_figures_are_of_the_committed_recipes() -> None:
    """The figures were measured with the code that trains now."""
    document = json.loads((FAMILY / "training" / "cross_subject.json").read_text(encoding="utf-8"))

    assert document["sources"] == source_digests(TRAINING_SOURCES)


@pytest.mark.parametrize("ref", ALL)
def test_the_manifest_declares_the_family_s_tensors(ref: str) -> None:
    """Windows, labels and channels are the data set's, and students name the hub that they escalate to."""
    manifest = load(ref).manifest

    assert manifest.family == "motion-band"
    assert manifest.labels == dataset.EXERCISES
    assert [(spec.name, spec.datatype, spec.shape) for spec in manifest.inputs] == [("window", "FP32", (-1, 50, 6))]
    assert [(spec.name, spec.datatype, spec.shape) for spec in manifest.outputs] == [("logits", "FP32", (-1, 7))]
    assert manifest.window is not None
    assert (manifest.window.samples, manifest.window.rate_hz) == (split.WINDOW_ROWS, dataset.RATE_HZ)
    assert manifest.window.channel_names == dataset.CHANNELS
    assert manifest.escalates_to == (None if ref == HUB else PackRef.parse(HUB))
    assert manifest.role == ("hub" if ref == HUB else "edge")


@pytest.mark.parametrize("ref", [FIRST, SECOND])
def test_a_student_is_small(ref: str) -> None:
    """An edge graph is tens of kilobytes."""
    assert load(ref).manifest.file("model.onnx").size_bytes < 40_000


@pytest.mark.parametrize("ref", ALL)
def test_the_card_says_what_its_figures_are(ref: str) -> None:
    """The card says within-subject, gives the cross-subject figures, licence and limits, and promises nothing."""
    card = load(ref).read("CARD.md").decode()

    for words in ("within-subject", "Cross-subject", "BSD-3-Clause", "## Limits", ref):
        assert words in card
    assert "guarantee" not in card.lower()
