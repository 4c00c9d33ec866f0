"""Verifying what a pack carries: its certificate must be about this pack's own score."""

from dataclasses import replace
from pathlib import Path

import pytest

from model_packs.build import build_spec, declared_score_name
from model_packs.calibration.deferral import FEATURES
from model_packs.digests import digest_of
from model_packs.pack_spec import PackSpec, ScoreEntry, VectorScalingEntry
from model_packs.verification import check_certificate
from tests.simulators.packs import LABELS, SPEC, write_sources
from tests.unit.model_packs.report.examples import CERTIFICATE

PLAIN = replace(SPEC, certificate="certificate.json")
LEARNED = replace(PLAIN, score=ScoreEntry(kind="deferral", weights=dict.fromkeys(FEATURES, 0.5), bias=1.0))
OTHER_BIAS = replace(PLAIN, score=ScoreEntry(kind="deferral", weights=dict.fromkeys(FEATURES, 0.5), bias=2.0))
MARGIN = replace(PLAIN, score=ScoreEntry(kind="margin"))
SCALED = replace(
    PLAIN, vector_scaling=VectorScalingEntry(scale=dict.fromkeys(LABELS, 2.0), offset=dict.fromkeys(LABELS, 0.0))
)


@pytest.mark.parametrize("built", [PLAIN, LEARNED, MARGIN, SCALED])
@pytest.mark.parametrize("certified", [PLAIN, LEARNED, OTHER_BIAS, MARGIN, SCALED])
def test_a_certificate_stands_for_its_own_score_only(tmp_path: Path, built: PackSpec, certified: PackSpec) -> None:
    """Of another kind, another fit or another scaling, the check fails and names both scores."""
    write_sources(tmp_path)
    graph = digest_of((tmp_path / "model.onnx").read_bytes())
    certificate = replace(CERTIFICATE, graph_digest=graph, score=declared_score_name(certified, tmp_path))
    (tmp_path / "certificate.json").write_bytes(certificate.to_json())

    found = check_certificate(build_spec(built, tmp_path, tmp_path / "layout"))

    assert found.is_ok is (built is certified)
    if built is not certified:
        assert f"it was issued for the score {declared_score_name(certified, tmp_path)}, not" in found.detail
