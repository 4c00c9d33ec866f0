"""Packs of every task: built, read, run and scored; parts that do not belong together are refused."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model_packs.answers import NO_TEXT, NON_FINITE, SPREAD_RANGE, TOO_LARGE
from model_packs.build import build_spec, declared_score_name
from model_packs.engines.opening import open_session
from model_packs.errors import PackError, TensorError
from model_packs.golden import write_npy
from model_packs.manifest import PackManifest
from model_packs.manifest_checks import contradictions
from model_packs.manifest_reading import read_manifest
from model_packs.outputs import MAX_RAW_BYTES, MAX_TEXT_CHARS, RawTensors, Regression, Text
from model_packs.pack import Pack
from model_packs.pack_spec import OutputEntry, PackSpec, RegressionEntry
from model_packs.scoring import Scored, score
from model_packs.tensors import BYTES, Tensor, TensorSpec
from tests.simulators.packs import SPEC, build_tiny
from tests.simulators.task_packs import REGRESSION, RESIDUALS, TENSOR, build_task, window


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """A pack that answers with a number."""
    return build_task(tmp_path_factory.mktemp("regression"), REGRESSION)


@pytest.fixture(scope="module")
def tensor(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """A pack that answers with its raw outputs."""
    return build_task(tmp_path_factory.mktemp("tensor"), TENSOR)


def run(pack: Pack, *windows: NDArray[np.float32]) -> tuple[Scored, ...]:
    """Let a pack answer for real."""
    session = open_session(pack)
    try:
        return score(pack.manifest, session.run({"window": np.stack(windows)}))
    finally:
        session.close()


def test_a_regression_answers_with_an_interval_and_how_sure_its_tolerance_is_kept(regression: Pack) -> None:
    """80 % of 99 calibration rows were within 1.6 spreads; a tolerance of 2.5 spreads holds for all of them."""
    narrow, wide, even = run(regression, window(3.0, 0.2), window(-1.0, 1.0), window(0.0, 0.5))
    assert isinstance(narrow.output, Regression)
    assert (narrow.output.tolerance, narrow.output.unit) == (0.5, "mm")
    assert (narrow.output.low, narrow.output.high) == pytest.approx((3.0 - 0.32, 3.0 + 0.32))
    assert narrow.confidence == pytest.approx(99 / 100)
    assert wide.confidence == pytest.approx(25 / 100)  # 0.5 of a spread: 25 of 99 rows
    assert even.confidence == pytest.approx(50 / 100)
    assert [one.unscorable for one in (narrow, wide, even)] == [None] * 3


def test_few_calibration_rows_give_no_interval_and_little_confidence(tmp_path: Path) -> None:
    """Two rows cannot say where 80 % of errors end; the most that they can say is 2/3."""
    spec = replace(REGRESSION, version="1.1.0")
    pack = build_task(tmp_path, spec)
    few = replace(pack.manifest, regression=replace(pack.manifest.regression, residuals=(0.1, 0.2)))  # type: ignore[type-var]  # it has one
    outputs = {"wear": np.zeros((1, 1), np.float32), "spread": np.ones((1, 1), np.float32)}
    (answer,) = score(few, outputs)
    assert isinstance(answer.output, Regression)
    assert (answer.output.low, answer.output.high) == (None, None)
    assert answer.confidence == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("wear", "spread", "reason"),
    [
        (math.nan, 1.0, NON_FINITE),
        (math.inf, 1.0, NON_FINITE),
        (1e39, 1.0, NON_FINITE),
        (1.0, 0.0, SPREAD_RANGE),
        (1.0, -1.0, SPREAD_RANGE),
        (1.0, math.nan, SPREAD_RANGE),
        (1.0, math.inf, SPREAD_RANGE),
    ],
)
def test_a_number_that_is_none_takes_no_other_row_down(
    regression: Pack, wear: float, spread: float, reason: str
) -> None:
    """That row cannot be scored, by name; its neighbour can."""
    outputs = {"wear": np.array([wear, 2.0]), "spread": np.array([spread, 1.0])}
    broken, whole = score(regression.manifest, outputs)
    assert (broken.output, broken.confidence, broken.unscorable) == (None, 0.0, reason)
    assert isinstance(whole.output, Regression)


def test_a_regression_without_a_spread_is_equally_sure_of_everything(tmp_path: Path) -> None:
    """One spread for all rows gives one interval width and one confidence."""
    entry = RegressionEntry(tolerance=0.5, level=0.8, residuals="residuals.npy")
    pack = build_task(tmp_path, replace(REGRESSION, regression=entry))
    first, second = run(pack, window(3.0, 0.2), window(4.0, 9.0))
    assert first.confidence == second.confidence == pytest.approx(0.25)


def test_raw_tensors_come_as_they_are_and_have_no_score(tensor: Pack) -> None:
    """One window's share of each output, without the batch's axis; the confidence says nothing."""
    first, second = run(tensor, window(3.0, 0.5), window(np.nan, 1.0))
    wear, spread = (
        Tensor.from_array(name, np.array([number], np.float32)) for name, number in (("wear", 3.0), ("spread", 0.5))
    )
    assert first == Scored(RawTensors((wear, spread)), 0.0, None)
    assert isinstance(second.output, RawTensors)


def test_raw_tensors_too_large_for_an_event_are_no_answer(tensor: Pack) -> None:
    """Where the pack leaves a size open, each window is looked at."""
    manifest = replace(tensor.manifest, outputs=(TensorSpec("y", "UINT8", (-1, -1)),))
    assert not list(contradictions(manifest))
    for size, unscorable in ((MAX_RAW_BYTES, None), (MAX_RAW_BYTES + 1, TOO_LARGE)):
        (answer,) = score(manifest, {"y": np.zeros((1, size), np.uint8)})
        assert answer.unscorable == unscorable


def text_manifest(tensor: Pack, *more: TensorSpec) -> PackManifest:
    """A pack that answers with a text."""
    outputs = (TensorSpec("text", BYTES, (-1,)), *more)
    return replace(tensor.manifest, task="text", agreement_loss="exact", outputs=outputs)


def test_a_text_is_as_sure_as_the_model_says(tensor: Pack) -> None:
    """Without a confidence of its own, and with one that is no probability, nothing is claimed."""
    texts = np.array([b"stop", "grün".encode(), b"\xff", b"go"], dtype=object)
    said = {"text": texts, "sure": np.array([0.75, math.nan, 1.0, 2.0], np.float32)}
    manifest = text_manifest(tensor, TensorSpec("sure", "FP32", (-1,)))
    assert not list(contradictions(manifest))
    assert score(manifest, said) == (
        Scored(Text("stop"), 0.75, None),
        Scored(Text("grün"), 0.0, None),
        Scored(None, 0.0, NO_TEXT),
        Scored(Text("go"), 0.0, None),
    )
    assert [one.confidence for one in score(text_manifest(tensor), said)] == [0.0] * 4
    long = np.array([b"x" * (MAX_TEXT_CHARS + 1)], dtype=object)
    assert score(text_manifest(tensor), {"text": long})[0].unscorable == NO_TEXT


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, r"output 'wear' must be \[batch\] or \[batch, 1\], not nothing"),
        ({"wear": np.zeros((2, 3))}, r"not \[2, 3\]"),
        ({"wear": np.zeros(2)}, "output 'spread' must be"),
    ],
)
def test_outputs_that_are_not_the_packs_are_an_error(
    regression: Pack, outputs: dict[str, NDArray[Any]], message: str
) -> None:
    """The engine and the pack disagree: that is no window's fault."""
    with pytest.raises(TensorError, match=message):
        score(regression.manifest, outputs)


def test_a_pack_of_any_task_survives_its_bytes(regression: Pack, tensor: Pack) -> None:
    """pack.json is read back as it was written; the residuals are in it, rising."""
    for pack in (regression, tensor):
        assert read_manifest(pack.manifest.canonical_json()) == pack.manifest
    spec = regression.manifest.regression
    assert spec is not None
    assert spec.residuals == tuple(RESIDUALS.tolist())
    assert (regression.manifest.agreement_loss, tensor.manifest.agreement_loss) == ("within_tolerance", "none")


def test_a_classification_says_nothing_of_other_tasks(tmp_path: Path) -> None:
    """Packs that were built before tasks came keep their digests: no key is added."""
    document = build_tiny(tmp_path).manifest.to_document()
    assert "regression" not in document
    assert (document["task"], document["agreement_loss"]) == ("classification", "zero_one")


def test_a_certificate_names_all_that_decides_a_regressions_confidence(regression: Pack, tmp_path: Path) -> None:
    """Another tolerance or other residuals are another score; it is known before the pack is built."""
    name = regression.manifest.score_name
    assert name.startswith("interval sha256:")
    (tmp_path / "residuals.npy").write_bytes(write_npy(RESIDUALS))
    assert declared_score_name(REGRESSION, tmp_path) == name
    (tmp_path / "residuals.npy").write_bytes(write_npy(RESIDUALS * 2))
    assert declared_score_name(REGRESSION, tmp_path) != name
    with pytest.raises(PackError, match="the task tensor has no score that a certificate could speak of"):
        declared_score_name(TENSOR, tmp_path)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (
            replace(REGRESSION, agreement_loss="zero_one"),
            "agreement_loss: of the task regression it is within_tolerance",
        ),
        (replace(REGRESSION, regression=None), "regression: belongs to the task regression, which needs it"),
        (replace(TENSOR, regression=REGRESSION.regression), "regression: belongs to the task regression"),
        (replace(REGRESSION, labels=("a", "b")), "labels: the task regression has none"),
        (replace(REGRESSION, outputs=(OutputEntry(name="wear", shape=(-1, 2)),)), "the first output must be FP16"),
        (replace(REGRESSION, outputs=REGRESSION.outputs[:1]), "regression.spread: 'spread' must be an output other"),
        (
            replace(REGRESSION, regression=replace(REGRESSION.regression, tolerance=0.0)),  # type: ignore[type-var]  # it has one
            "tolerance must be above 0",
        ),
        (
            replace(REGRESSION, regression=replace(REGRESSION.regression, level=1.0)),  # type: ignore[type-var]  # as above
            "level strictly between 0 and 1",
        ),
        (replace(TENSOR, task="text"), r"outputs: the first output must be BYTES \[-1\], the text"),
        (replace(TENSOR, certificate="residuals.npy"), "certificate_path: the task tensor has no score"),
        (
            replace(TENSOR, outputs=(OutputEntry(name="y", shape=(-1, MAX_RAW_BYTES // 4 + 1)),)),
            "an answer of the task tensor has at most",
        ),
        (replace(SPEC, golden=None, card=None, agreement_loss="exact"), "of the task classification it is zero_one"),
    ],
)
def test_parts_that_do_not_belong_to_the_task_are_refused(tmp_path: Path, spec: PackSpec, problem: str) -> None:
    """Each is named by its key, before anybody can load such a pack."""
    with pytest.raises(PackError, match=problem):
        build_task(tmp_path, spec)


@pytest.mark.parametrize(
    "residuals", [np.array([]), np.array([math.nan]), np.ones((2, 2)), np.array([1, 2]), -np.ones(3)]
)
def test_residuals_that_are_none_are_refused(tmp_path: Path, residuals: NDArray[Any]) -> None:
    """Empty, no numbers, a table, integers, negative."""
    build_task(tmp_path, REGRESSION)
    (tmp_path / "sources" / "residuals.npy").write_bytes(write_npy(residuals))
    with pytest.raises(PackError, match="residuals"):
        build_spec(replace(REGRESSION, version="2.0.0"), tmp_path / "sources", tmp_path / "layout")
