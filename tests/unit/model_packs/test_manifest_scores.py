"""What a pack says of its score and of its classes' scaling: written only when set, read strictly."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_packs.build import build_pack, declared_score_name
from model_packs.calibration.deferral import FEATURES
from model_packs.calibration.scaling import VectorScaling
from model_packs.errors import ManifestError, PackError
from model_packs.manifest import PackManifest, ScoreSpec
from model_packs.manifest_reading import read_manifest
from model_packs.pack_spec import PackSpec
from model_packs.process.settings import load_toml
from model_packs.store import PackStore
from model_packs.tensors import TensorSpec
from tests.simulators.packs import write_sources
from tests.unit.model_packs.test_build import PACK_TOML
from tests.unit.model_packs.test_manifest import MANIFEST, Change, changed

OWN_OUTPUT = replace(
    MANIFEST,
    golden=None,
    files=tuple(file for file in MANIFEST.files if file.role != "golden"),
    outputs=(*MANIFEST.outputs, TensorSpec("ask", "FP32", (-1, 1))),
    score=ScoreSpec("escalate_output", output="ask"),
)
LEARNED = replace(MANIFEST, score=ScoreSpec("deferral", weights=dict.fromkeys(FEATURES, 0.5), bias=-1.0))
MARGIN = replace(MANIFEST, score=ScoreSpec("margin"))
SCALED = replace(MANIFEST, vector_scaling=VectorScaling((0.5, 2.0), (0.0, -1.0)))

DEFERRAL_TOML = """
[score]
kind = "deferral"
weights = { log_odds = -0.5, lead = 0.25, second_lead = 0, certainty = -2.0 }
bias = 1
[vector_scaling]
scale = { idle = 1.0, moving = 0.5, broken = 2 }
offset = { idle = 0.0, moving = 0.5, broken = -0.25 }
"""


def test_a_pack_without_a_score_does_not_mention_one() -> None:
    """The keys are absent unless set, so that packs from before them keep their bytes and digests."""
    document = MANIFEST.to_document()
    assert "score" not in document
    assert "vector_scaling" not in document
    assert MANIFEST.score_kind == "max_probability"
    for key in ("score", "vector_scaling"):
        with pytest.raises(ManifestError, match="not the canonical JSON"):
            read_manifest(changed(lambda d, key=key: d.update({key: None})))  # type: ignore[misc]  # a default, bound now


@pytest.mark.parametrize("manifest", [OWN_OUTPUT, LEARNED, MARGIN, SCALED])
def test_scores_and_scalings_survive_the_round_trip(manifest: PackManifest) -> None:
    """Every kind comes back as it was written."""
    assert read_manifest(manifest.canonical_json()) == manifest


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4),
    st.floats(-1e6, 1e6),
    st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4),
)
def test_every_number_survives_the_round_trip(weights: list[float], bias: float, scaling: list[float]) -> None:
    """Weights, bias, scales and offsets, to the last bit."""
    manifest = replace(
        MANIFEST,
        score=ScoreSpec("deferral", weights=dict(zip(FEATURES, weights, strict=True)), bias=bias),
        vector_scaling=VectorScaling((scaling[0], scaling[1]), (scaling[2], scaling[3])),
    )
    assert read_manifest(manifest.canonical_json()) == manifest


@pytest.mark.parametrize(
    ("manifest", "change", "problem"),
    [
        (MARGIN, lambda d: d["score"].update(kind="max_probability"), "score.kind: must be one of margin, entropy"),
        (MARGIN, lambda d: d["score"].update(kind="mood"), "score.kind: must be one of"),
        (MARGIN, lambda d: d["score"].update(colour="red"), "score.colour: unknown key"),
        (MARGIN, lambda d: d["score"].update(output="ask"), "score.output: names the output of the score escalate"),
        (MARGIN, lambda d: d["score"].update(kind="deferral"), "score.weights: belong to the score deferral"),
        (LEARNED, lambda d: d["score"].update(kind="margin"), "score.weights: belong to the score deferral"),
        (LEARNED, lambda d: d["score"]["weights"].pop("lead"), "score.weights: must weigh log_odds, lead, second_lead"),
        (LEARNED, lambda d: d["score"]["weights"].update(lead="1"), "score.weights.lead: must be a number"),
        (LEARNED, lambda d: d["score"].pop("bias"), "score.bias: missing"),
        (OWN_OUTPUT, lambda d: d["score"].pop("output"), "score.output: names the output of the score escalate"),
        (OWN_OUTPUT, lambda d: d["score"].update(output="logits"), "'logits' must be an output other than the first"),
        (OWN_OUTPUT, lambda d: d["outputs"][1].update(shape=[-1, 2]), r"'ask' must be FP16 or FP32 or FP64 \[-1\]"),
        (OWN_OUTPUT, lambda d: d["outputs"][1].update(datatype="INT64"), "'ask' must be FP16 or FP32"),
        (SCALED, lambda d: d["vector_scaling"]["scale"].pop("idle"), "vector_scaling.scale: must give one number for"),
        (SCALED, lambda d: d["vector_scaling"].pop("offset"), "vector_scaling.offset"),
    ],
)
def test_a_score_that_makes_no_sense_names_the_key(manifest: PackManifest, change: Change, problem: str) -> None:
    """Each single fault is found and named."""
    with pytest.raises(ManifestError, match=problem):
        read_manifest(changed(change, manifest))


def test_a_single_label_needs_a_score_of_its_own() -> None:
    """Margin, entropy and deferral compare classes; with one there is nothing to compare."""
    alone = replace(MARGIN, labels=("only",), outputs=(TensorSpec("logits", "FP32", (-1, 1)),))
    with pytest.raises(ManifestError, match="with a single label margin says nothing"):
        read_manifest(alone.canonical_json())


def test_pack_toml_declares_score_and_scaling(tmp_path: Path) -> None:
    """What an author writes by name comes out of the built pack, in the order of the labels."""
    write_sources(tmp_path)
    (tmp_path / "pack.toml").write_text(PACK_TOML + DEFERRAL_TOML)

    built = build_pack(tmp_path / "pack.toml", tmp_path / "layout")
    manifest = PackStore(tmp_path / "layout").load(built.ref, None).manifest

    assert manifest.score == ScoreSpec(
        "deferral", weights={"log_odds": -0.5, "lead": 0.25, "second_lead": 0.0, "certainty": -2.0}, bias=1.0
    )
    assert manifest.vector_scaling == VectorScaling((1.0, 0.5, 2.0), (0.0, 0.5, -0.25))
    assert manifest.score_kind == "deferral"
    spec = load_toml(tmp_path / "pack.toml", PackSpec, absent_mend="write it")
    assert declared_score_name(spec, tmp_path) == manifest.score_name


def test_two_scores_that_may_differ_have_two_names() -> None:
    """A certificate of one is none of the other: weights, bias, output and scaling are in the name."""
    deferral = LEARNED.score
    assert deferral is not None
    others = [
        replace(LEARNED, score=replace(deferral, bias=-2.0)),
        replace(LEARNED, score=replace(deferral, weights=dict.fromkeys(FEATURES, 0.25))),
        replace(LEARNED, vector_scaling=VectorScaling((0.5, 2.0), (0.0, -1.0))),
        replace(MARGIN, vector_scaling=VectorScaling((0.5, 2.0), (0.0, -1.0))),
        replace(OWN_OUTPUT, score=ScoreSpec("escalate_output", output="other")),
    ]
    manifests = [MANIFEST, MARGIN, LEARNED, SCALED, OWN_OUTPUT, *others]
    assert len({manifest.score_name for manifest in manifests}) == len(manifests)
    assert [manifest.score_name for manifest in manifests[:2]] == ["max_probability", "margin"]
    assert all(manifest.score_name.split(" sha256:")[0] == manifest.score_kind for manifest in manifests)


def test_the_usual_score_leaves_no_trace(tmp_path: Path) -> None:
    """To declare the largest probability is to declare nothing: one pack, one digest."""
    write_sources(tmp_path)
    (tmp_path / "pack.toml").write_text(PACK_TOML)
    plain = build_pack(tmp_path / "pack.toml", tmp_path / "a")
    (tmp_path / "pack.toml").write_text(PACK_TOML + '[score]\nkind = "max_probability"\n')
    assert build_pack(tmp_path / "pack.toml", tmp_path / "b").digest == plain.digest


def test_a_scaling_that_forgets_a_label_is_not_built(tmp_path: Path) -> None:
    """The author is told which part."""
    write_sources(tmp_path)
    (tmp_path / "pack.toml").write_text(PACK_TOML + DEFERRAL_TOML.replace("offset = { idle = 0.0,", "offset = {"))
    with pytest.raises(PackError, match=r"vector_scaling\.offset: must give one number for each label"):
        build_pack(tmp_path / "pack.toml", tmp_path / "layout")
