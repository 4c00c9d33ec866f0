"""The committed packs: whole, small, backed by their certificate, built from the committed sources."""

import json
from pathlib import Path

import pytest

from model_packs.manifest import ImageSpec, PackRef
from model_packs.pack import Pack
from model_packs.shipped.form_digits import dataset
from model_packs.shipped.form_digits.training.sources import ALL_SOURCES, FAMILY, QUANTISING_SOURCES, source_digests
from model_packs.store import PackStore
from model_packs.verification import check_certificate, check_golden

EDGE, HUB = "form-digits-edge@1.0.0", "form-digits-hub@1.0.0"
ALL = (EDGE, HUB)


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
    EDGE: "sha256:5ce850257373f413e1046c1c44d2262ae2f5ff893ba110860dc04967d3f45eaa",
    HUB: "sha256:92b2a5fe5fd3846fce0ab54bb69277532a1449057b037125ce5f92f0d90d2aa8",
}


@pytest.mark.parametrize("ref", ALL)
def test_the_committed_pack_keeps_its_digest(ref: str) -> None:
    """A published version never changes: what changes gets a new version."""
    assert load(ref).manifest.digest == DIGESTS[ref]


def test_the_committed_certificate_holds() -> None:
    """The counts give the p-value again, and the statement is about this graph, data and temperature."""
    pack = load(EDGE)
    certificate = pack.certificate

    assert certificate is not None
    assert check_certificate(pack).is_ok
    assert certificate.threshold is not None
    assert (certificate.risk, certificate.reference) == ("error", "labels")
    assert (certificate.target, certificate.delta) == (0.01, 0.05)
    assert certificate.dataset_digest == f"sha256:{dataset.SHA256}"
    assert (certificate.sampling_unit, certificate.n_units) == ("image", 1000)
    assert certificate.population.startswith("digits of the MNIST subset")


def test_the_hub_answers_without_a_certificate() -> None:
    """Only the edge decides what it keeps."""
    assert load(HUB).certificate is None


@pytest.mark.parametrize("ref", ALL)
def test_the_packs_were_built_from_the_committed_sources(ref: str) -> None:
    """Whoever edits a source of the packs rebuilds them (`make packs`): the digests in the provenance say so."""
    provenance = load(ref).manifest.provenance

    recorded = {key.removeprefix("source:"): value for key, value in provenance.items() if key.startswith("source:")}

    assert recorded == source_digests()


def test_all_training_code_is_among_the_recorded_sources() -> None:
    """No module of the family is left out of the digests."""
    modules = {
        str(path.relative_to(FAMILY))
        for folder in (FAMILY, FAMILY / "training")
        for path in folder.glob("*.py")
        if path.name != "__init__.py"
    }

    assert modules <= set(ALL_SOURCES)


def test_the_quantised_figures_are_of_the_committed_recipes() -> None:
    """The figures that decide between FP32 and INT8 were measured with the code that trains now."""
    document = json.loads((FAMILY / "training" / "quantised.json").read_text(encoding="utf-8"))

    assert document["sources"] == source_digests(QUANTISING_SOURCES)


def test_the_form_that_ships_is_the_one_that_measured_better() -> None:
    """INT8 ships only where it was clearly faster at one crop and as good as right; the card gives both figures."""
    document = json.loads((FAMILY / "training" / "quantised.json").read_text(encoding="utf-8"))
    fp32, int8 = document["fp32"], document["int8"]
    is_better = int8["time_us"] <= 0.9 * fp32["time_us"] and int8["right"] >= fp32["right"] - 0.005
    pack = load(EDGE)

    assert [variant.precision for variant in pack.manifest.variants] == ["int8" if is_better else "fp32"]
    card = pack.read("CARD.md").decode()
    assert ("INT8 ships" if is_better else "INT8 was left out") in card
    for name, form in (("FP32", fp32), ("INT8", int8)):
        assert f"| {name} | {form['graph_bytes']:,} | {form['time_us']:.1f} | {form['right']:.1%} |" in card


@pytest.mark.parametrize("ref", ALL)
def test_the_manifest_declares_the_family_s_tensors(ref: str) -> None:
    """Image and labels are the data set's, and the student names the hub that it escalates to."""
    manifest = load(ref).manifest

    assert manifest.family == "form-digits"
    assert manifest.labels == dataset.LABELS
    assert [(spec.name, spec.datatype, spec.shape) for spec in manifest.inputs] == [("image", "UINT8", (-1, 28, 28))]
    assert [(spec.name, spec.datatype, spec.shape) for spec in manifest.outputs] == [("logits", "FP32", (-1, 10))]
    assert (manifest.image, manifest.window) == (ImageSpec(28, 28, "L"), None)
    assert manifest.escalates_to == (None if ref == HUB else PackRef.parse(HUB))
    assert manifest.role == ("hub" if ref == HUB else "edge")


def test_the_packs_are_small() -> None:
    """The student's graph is tens of kilobytes, the hub's less than a megabyte."""
    assert load(EDGE).manifest.file("model.onnx").size_bytes < 40_000
    assert load(HUB).manifest.file("model.onnx").size_bytes < 1_000_000


@pytest.mark.parametrize("ref", ALL)
def test_the_card_says_what_its_figures_are(ref: str) -> None:
    """The card says what the data stand in for, their licence and limits, and promises nothing."""
    card = load(ref).read("CARD.md").decode()

    for words in (
        "a subset of MNIST, not a single real branch form",
        "CC BY-SA 3.0",
        "BSD-3-Clause",
        "JPEG (grey, quality 85)",
        "## Limits",
        "no certificate covers it",
        ref,
    ):
        assert words in card
    assert "guarantee" not in card.lower()
