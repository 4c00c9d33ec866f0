"""pack.json: one canonical form, read strictly, every contradiction told."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_packs.digests import digest_of
from model_packs.errors import ManifestError
from model_packs.manifest import (
    NAME_PATTERN,
    VERSION_PATTERN,
    GoldenSpec,
    ImageSpec,
    PackFile,
    PackManifest,
    PackRef,
    Variant,
    WindowSpec,
)
from model_packs.manifest_reading import read_manifest
from model_packs.strict_json import canonical
from model_packs.tensors import TensorSpec

GRAPH = digest_of(b"graph")

MANIFEST = PackManifest(
    ref=PackRef("motion-edge", "1.2.3"),
    family="motion",
    role="edge",
    task="classification",
    labels=("idle", "walk"),
    inputs=(TensorSpec("window", "FP32", (-1, 50, 6)),),
    outputs=(TensorSpec("logits", "FP32", (-1, 2)),),
    window=WindowSpec(50, 6, 50.0, ("ax", "ay", "az", "gx", "gy", "gz")),
    max_batch=32,
    escalates_to=PackRef("motion-hub", "1.0.0"),
    temperature=1.5,
    agreement_loss="zero_one",
    certificate_path="certificate.json",
    files=(
        PackFile("certificate.json", digest_of(b"certificate"), 11, "certificate"),
        PackFile("golden/logits.npy", digest_of(b"logits"), 6, "golden"),
        PackFile("golden/window.npy", digest_of(b"window"), 6, "golden"),
        PackFile("model.onnx", GRAPH, 5, "weights"),
    ),
    variants=(Variant("fp32", "onnxruntime", "fp32", "model.onnx", GRAPH, 0),),
    golden=GoldenSpec({"window": "golden/window.npy"}, {"logits": "golden/logits.npy"}, 8, 1e-4),
    license="Apache-2.0",
    provenance={"script": "sha256:abc"},
)

DIGITS = replace(
    MANIFEST,
    inputs=(TensorSpec("window", "UINT8", (-1, 28, 20)),),
    window=None,
    image=ImageSpec(28, 20, "L"),
)

Change = Callable[[dict[str, Any]], object]


def changed(change: Change, manifest: PackManifest = MANIFEST) -> bytes:
    """The canonical pack.json after a change to its document."""
    document = json.loads(manifest.canonical_json())
    change(document)
    return canonical(document)


def test_a_manifest_survives_the_round_trip() -> None:
    """Written and read back it is equal, and so is its digest."""
    back = read_manifest(MANIFEST.canonical_json())
    assert back == MANIFEST
    assert back.digest == digest_of(MANIFEST.canonical_json())


def test_an_image_pack_survives_the_round_trip() -> None:
    """Grey and coloured images come back as they were written."""
    coloured = replace(DIGITS, inputs=(TensorSpec("window", "UINT8", (-1, 28, 20, 3)),), image=ImageSpec(28, 20, "RGB"))
    for manifest in (DIGITS, coloured):
        assert read_manifest(manifest.canonical_json()) == manifest


def test_a_pack_without_an_image_does_not_mention_one() -> None:
    """The key is absent unless set, so that packs from before it keep their bytes; an explicit null is refused."""
    assert "image" not in MANIFEST.to_document()
    with pytest.raises(ManifestError, match="not the canonical JSON"):
        read_manifest(changed(lambda d: d.update(image=None)))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: d["image"].update(height=27), r"image: the first input must be UINT8 \[-1, 27, 20\] for a L image"),
        (lambda d: d["image"].update(mode="RGB"), r"image: the first input must be UINT8 \[-1, 28, 20, 3\]"),
        (lambda d: d["image"].update(mode="CMYK"), "image.mode: must be one of L, RGB"),
        (lambda d: d["image"].update(width=0), "image.width: must be an integer from 1"),
        (lambda d: d["image"].update(depth=8), "image.depth: unknown key"),
        (lambda d: d["inputs"][0].update(datatype="FP32"), "image: the first input must be UINT8"),
        (lambda d: d.update(window=MANIFEST.to_document()["window"]), "a window or an image, not both"),
    ],
)
def test_an_image_must_fit_the_first_input(change: Change, problem: str) -> None:
    """Sizes, mode and datatype agree with the tensor, and a window excludes an image."""
    with pytest.raises(ManifestError, match=problem):
        read_manifest(changed(change, DIGITS))


@given(
    st.builds(PackRef, st.from_regex(NAME_PATTERN, fullmatch=True), st.from_regex(VERSION_PATTERN, fullmatch=True)),
    st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=6, unique=True),
    st.floats(1e-3, 1e3),
    st.dictionaries(st.text(max_size=10), st.text(st.characters(codec="utf-8"), max_size=40), max_size=5),
)
def test_every_valid_manifest_has_one_form(
    ref: PackRef, labels: list[str], temperature: float, facts: dict[str, str]
) -> None:
    """Whatever the names, labels and numbers: reading the canonical bytes gives the manifest back."""
    manifest = replace(
        MANIFEST,
        ref=ref,
        labels=tuple(labels),
        outputs=(TensorSpec("logits", "FP32", (-1, len(labels))),),
        temperature=temperature,
        provenance={key.encode("utf-8", "replace").decode(): value for key, value in facts.items()},
    )
    assert read_manifest(manifest.canonical_json()) == manifest


@given(st.from_regex(NAME_PATTERN, fullmatch=True), st.from_regex(VERSION_PATTERN, fullmatch=True))
def test_references_survive_the_round_trip(name: str, version: str) -> None:
    """`name@version` parses to what it was made of."""
    ref = PackRef(name, version)
    assert PackRef.parse(str(ref)) == ref


@pytest.mark.parametrize(
    "text", ["", "a", "a@1", "A@1.0.0", "a@1.0", "../x@1.0.0", "a@01.0.0", "a@1.0.0\n", "a b@1.0.0"]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    """Names and versions have one form."""
    with pytest.raises(ValueError, match="not a pack reference"):
        PackRef.parse(text)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: d.update(schema="tandem.pack/2"), "schema: must be tandem.pack/1, not 'tandem.pack/2'"),
        (lambda d: d.update(colour="red"), "colour: unknown key"),
        (lambda d: d.pop("labels"), "labels: missing"),
        (lambda d: d.update(max_batch=0), "max_batch: must be an integer from 1"),
        (lambda d: d.update(max_batch=True), "max_batch: must be an integer"),
        (lambda d: d.update(temperature="hot"), "temperature: must be a number"),
        (lambda d: d.update(escalates_to="hub"), "escalates_to: not a pack reference"),
        (lambda d: d.update(role="cloud"), "role: must be one of edge, hub"),
        (lambda d: d.update(role="hub"), "only an edge pack escalates"),
        (lambda d: d.update(labels=["a", "a"]), "labels: must be present and each different"),
        (lambda d: d.update(labels=["a"]), "one logit per label"),
        (lambda d: d["window"].update(samples=49), "window: 49 samples of 6 channels do not fit"),
        (lambda d: d["window"].update(channel_names=["a"]), "window.channel_names: must name the 6 channels"),
        (lambda d: d["inputs"][0].update(shape=[8, 50, 6]), "the first axis is the batch"),
        (lambda d: d["inputs"][0].update(datatype="FLOAT"), r"inputs\[0\].datatype: must be one of"),
        (lambda d: d["files"][3].update(path="../model.onnx"), "leaves the pack"),
        (lambda d: d["files"][3].update(path="/etc/model.onnx"), "is absolute"),
        (lambda d: d["files"][3].update(path="a\\b"), "is not portable"),
        (lambda d: d["files"][3].update(path="nul"), "is not portable"),
        (lambda d: d["files"][3].update(path=".hidden"), "is not portable"),
        (lambda d: d["files"][3].update(path="a/b/c/d/e/f/g/h/i"), "nested more than 8 deep"),
        (lambda d: d["files"].append({**d["files"][3], "path": "MODEL.onnx"}), "stands there twice"),
        (lambda d: d["files"].reverse(), "files: must be sorted"),
        (lambda d: d["files"][3].update(role="card"), "has the role 'card', not 'weights'"),
        (lambda d: d["files"][3].update(digest="md5:abc"), r"files\[3\].digest: must be of the form"),
        (lambda d: d["files"][3].update(size_bytes=-1), r"files\[3\].size_bytes"),
        (lambda d: d["variants"][0].update(file="other.onnx"), "'other.onnx' is not among the files"),
        (lambda d: d["variants"][0].update(graph_digest=digest_of(b"x")), "is not the digest of 'model.onnx'"),
        (lambda d: d.update(variants=[]), "variants: at least one is needed"),
        (lambda d: d["golden"].update(inputs={}), "golden.inputs: must give one file for each of window"),
        (lambda d: d.update(certificate_path="x"), "certificate_path: 'x' is not among the files"),
        (lambda d: d.update(provenance={"a": 1}), "provenance: must be an object of strings"),
    ],
)
def test_a_broken_manifest_names_the_key(change: Change, problem: str) -> None:
    """Each single fault is found and named."""
    with pytest.raises(ManifestError, match=problem):
        read_manifest(changed(change))


def test_every_problem_is_told_at_once() -> None:
    """Three faults in different places give three problems."""

    def change(document: dict[str, Any]) -> None:
        document.update(max_batch=0, colour="red")
        document["files"][0]["role"] = "poem"

    with pytest.raises(ManifestError) as caught:
        read_manifest(changed(change))
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{", b"\xff", b'{"schema":NaN}', b'{"schema":1,"schema":2}', b"[" * 100_000, b" " * (1 << 21)],
)
def test_what_is_no_document_is_refused(data: bytes) -> None:
    """Broken, doubled, deep and oversized JSON all end in one kind of error."""
    with pytest.raises(ManifestError):
        read_manifest(data)


def test_bytes_that_are_not_canonical_are_refused() -> None:
    """The same document with white space would have another digest, so it is no pack.json."""
    loose = json.dumps(json.loads(MANIFEST.canonical_json()), sort_keys=True, indent=1, ensure_ascii=False).encode()
    with pytest.raises(ManifestError, match="not the canonical JSON"):
        read_manifest(loose)
