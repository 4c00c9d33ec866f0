"""Packs of the task detection: built, read, run and scored; what they cannot mean is refused."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model_packs.answers import NON_FINITE
from model_packs.boxes import Box
from model_packs.build import build_spec, declared_score_name
from model_packs.calibration.detection import tempered
from model_packs.detecting import BOX_RANGE, CLASS_RANGE, SCORE_RANGE
from model_packs.engines.opening import open_session
from model_packs.engines.session import Session, SessionFacts
from model_packs.errors import PackError, TensorError
from model_packs.golden import write_npy
from model_packs.manifest import PackManifest
from model_packs.manifest_reading import read_manifest
from model_packs.outputs import Detection
from model_packs.pack import Pack
from model_packs.pack_spec import DetectionEntry, OutputEntry, PackSpec
from model_packs.scoring import Scored, score
from model_packs.verification import check_golden, golden_on
from tests.simulators.detector_packs import BOXES, CANDIDATES, CHOSEN, LABELS, WITH_GOLDEN, build_detector, window
from tests.simulators.packs import build_tiny


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """A pack whose graph has chosen its boxes."""
    return build_detector(tmp_path_factory.mktemp("chosen"), CHOSEN)


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """A pack whose graph gives candidates with a score by label."""
    return build_detector(tmp_path_factory.mktemp("candidates"), CANDIDATES)


def run(pack: Pack, *windows: NDArray[np.float32]) -> tuple[Scored, ...]:
    """Let a pack answer for real."""
    session = open_session(pack)
    try:
        return score(pack.manifest, session.run({"window": np.stack(windows)}))
    finally:
        session.close()


def changed(pack: Pack, temperature: float = 1.0, **changes: Any) -> PackManifest:  # noqa: ANN401 - fields of the spec
    """A pack that tells boxes otherwise."""
    assert pack.manifest.detection is not None
    detection = replace(pack.manifest.detection, **changes)
    return replace(pack.manifest, temperature=temperature, detection=detection)


def raw(*rows: tuple[float, ...]) -> dict[str, NDArray[Any]]:
    """Outputs of `CHOSEN` for one window."""
    values = np.array([rows], np.float64)
    return {"boxes": values[..., :4], "scores": values[..., 4], "classes": values[..., 5]}


def test_a_picture_is_as_sure_as_its_weakest_kept_box(chosen: Pack) -> None:
    """Boxes come with the surest first; what only fills up is none."""
    (answer,) = run(chosen, window((2, 1, 8, 3, 0.5, 1), (0, 0, 4, 4, 0.875, 0), (0, 0, 1, 1, 0.25, 0)))
    boxes = (Box("bolt", 0.875, 0.0, 0.0, 4.0, 4.0), Box("nut", 0.5, 2.0, 1.0, 8.0, 3.0))
    assert answer == Scored(Detection(boxes, "pixels", 0.5), 0.5, None)


def test_nothing_found_asks_the_hub_unless_pictures_have_taught_otherwise(chosen: Pack) -> None:
    """And then it is at most one minus the strongest box that was not kept."""
    empty, nearly = window(), window((0, 0, 4, 4, 0.375, 0))
    nothing = Detection((), "pixels", 0.5)
    assert run(chosen, empty, nearly) == (Scored(nothing, 0.0, None), Scored(nothing, 0.0, None))
    outputs = {name: np.concatenate(parts) for name, parts in zip(("boxes", "scores", "classes"), _both(), strict=True)}
    told = [one.confidence for one in score(changed(chosen, nothing_found=0.75), outputs)]
    assert told == pytest.approx([0.75, 0.625])
    assert [one.confidence for one in score(changed(chosen, nothing_found=1.0), outputs)] == pytest.approx([1.0, 0.625])


def _both() -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Outputs for a picture without any box, and for one with a weak one."""
    first, second = raw((0, 0, 0, 0, 0.0, -1)), raw((0, 0, 4, 4, 0.375, 0))
    return [(first[name], second[name]) for name in ("boxes", "scores", "classes")]


def test_candidates_that_overlap_are_one_box(candidates: Pack) -> None:
    """The surest of a label stands for the others; another label has boxes of its own."""
    (answer,) = run(
        candidates,
        window(
            (0, 0, 10, 10, 0.75, 0.125),
            (0, 0, 10, 9, 0.875, 0.0),  # nearly the first
            (0, 0, 10, 10, 0.0, 0.5),  # there, too, but a nut
            (20, 0, 30, 10, 0.625, 0.25),
            (40, 0, 50, 10, 0.25, 0.375),
        ),
    )
    boxes = (
        Box("bolt", 0.875, 0.0, 0.0, 10.0, 9.0),
        Box("bolt", 0.625, 20.0, 0.0, 30.0, 10.0),
        Box("nut", 0.5, 0.0, 0.0, 10.0, 10.0),
    )
    assert answer == Scored(Detection(boxes, "pixels", 0.5), 0.5, None)


@pytest.mark.parametrize("form", ["chosen", "candidates"])
def test_a_box_without_room_is_not_told_but_counts(form: str, request: pytest.FixtureRequest) -> None:
    """An answer gets no surer by leaving its weak boxes out."""
    pack: Pack = request.getfixturevalue(form)
    rows = [(10.0 * number, 0.0, 10.0 * number + 5.0, 5.0, 0.9 - 0.1 * number, 0.0) for number in range(4)]
    session = open_session(pack)
    try:
        outputs = session.run({"window": window(*rows)[np.newaxis]})
    finally:
        session.close()
    (answer,) = score(changed(pack, max_boxes=2), outputs)
    assert isinstance(answer.output, Detection)
    assert [box.score for box in answer.output.boxes] == pytest.approx([0.9, 0.8])
    assert answer.confidence == pytest.approx(0.6)


def test_a_temperature_makes_scores_honest_before_they_are_compared(chosen: Pack) -> None:
    """Log odds are divided by it, as those of any yes or no; events tell the calibrated scores."""
    outputs = raw((0, 0, 4, 4, 0.9, 0), (5, 5, 6, 6, 0.3, 1))
    (answer,) = score(changed(chosen, temperature=2.0), outputs)
    sure = 1.0 / (1.0 + math.exp(-math.log(0.9 / 0.1) / 2.0))
    assert isinstance(answer.output, Detection)
    assert (answer.confidence, answer.output.boxes[0].score) == pytest.approx((sure, sure))
    (both,) = score(changed(chosen, temperature=4.0), outputs)  # 0.3 becomes 0.447: it is kept now
    assert isinstance(both.output, Detection)
    assert len(both.output.boxes) == 2


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6), st.floats(1e-3, 1e3))
def test_a_temperature_keeps_the_order_of_scores(scores: list[float], temperature: float) -> None:
    """And leaves them scores."""
    found = tempered(np.sort(np.array(scores)), temperature)
    assert ((found >= 0.0) & (found <= 1.0)).all()
    assert (np.diff(found) >= -1e-12).all()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((0, 0, 4, 4, math.nan, 0), NON_FINITE),
        ((0, 0, 4, 4, math.inf, 0), NON_FINITE),
        ((0, math.nan, 4, 4, 0.9, 0), NON_FINITE),
        ((0, 0, math.inf, 4, 0.9, 0), NON_FINITE),
        ((0, 0, 4, 4, 1.5, 0), SCORE_RANGE),
        ((0, 0, 4, 4, -0.5, 0), SCORE_RANGE),
        ((4, 0, 4, 4, 0.9, 0), BOX_RANGE),
        ((0, 5, 4, 4, 0.9, 0), BOX_RANGE),
        ((0, 0, 4, 1e10, 0.9, 0), BOX_RANGE),
        ((0, 0, 4, 4, 0.9, 2), CLASS_RANGE),
        ((0, 0, 4, 4, 0.9, -1), CLASS_RANGE),
        ((0, 0, 4, 4, 0.9, 0.5), CLASS_RANGE),
        ((0, 0, 4, 4, 0.9, math.nan), CLASS_RANGE),
        ((4, math.nan, 0, 4, 0.1, 99), None),
    ],
)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_what_is_no_box_takes_its_own_picture_down_only(
    chosen: Pack, row: tuple[float, ...], reason: str | None, temperature: float
) -> None:
    """By name; a box that is not kept may be anything but without a score."""
    whole = raw((0, 0, 4, 4, 0.75, 0))
    broken = raw(row)
    outputs = {name: np.concatenate([broken[name], whole[name]]) for name in whole}
    first, second = score(changed(chosen, temperature=temperature), outputs)
    assert first.unscorable == reason
    assert (first.output is None) == (reason is not None)
    assert reason is None or first.confidence == 0.0
    assert isinstance(second.output, Detection)


def test_a_candidate_without_a_number_hides_no_better_one(candidates: Pack) -> None:
    """Of scores by label one that is NaN may be the strongest."""
    values = window((0, 0, 4, 4, math.nan, 0.9))[np.newaxis]
    (answer,) = score(candidates.manifest, {"boxes": values[..., :4], "scores": values[..., 4:]})
    assert answer == Scored(None, 0.0, NON_FINITE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": None}, r"output 'boxes' must be \[batch, n, 4\], not nothing"),
        ({"boxes": np.zeros((1, 2, 5))}, r"output 'boxes' must be \[batch, n, 4\], not \[1, 2, 5\]"),
        ({"scores": np.zeros((1, 3))}, r"output 'scores' must be \[1, 1\], not \[1, 3\]"),
        ({"scores": np.zeros((1, 1, 2))}, r"output 'scores' must be \[1, 1\], not \[1, 1, 2\]"),
        ({"classes": None}, r"output 'classes' must be \[1, 1\], not nothing"),
    ],
)
def test_outputs_that_are_not_the_packs_are_an_error(
    chosen: Pack, changes: dict[str, NDArray[Any] | None], message: str
) -> None:
    """The engine and the pack disagree: that is no picture's fault."""
    outputs = {**raw((0, 0, 4, 4, 0.9, 0)), **changes}
    with pytest.raises(TensorError, match=message):
        score(chosen.manifest, {name: values for name, values in outputs.items() if values is not None})


def test_a_detector_survives_its_bytes(chosen: Pack, candidates: Pack, tmp_path: Path) -> None:
    """pack.json is read back as it was written; packs of other tasks keep their digests: no key is added."""
    for pack in (chosen, candidates):
        assert read_manifest(pack.manifest.canonical_json()) == pack.manifest
        assert pack.manifest.agreement_loss == "matched_boxes"
    assert "suppress_iou" not in chosen.manifest.to_document()["detection"]
    assert "detection" not in build_tiny(tmp_path).manifest.to_document()


def test_a_certificate_names_all_that_decides_a_detectors_confidence(chosen: Pack, tmp_path: Path) -> None:
    """Another threshold of boxes is another score; it is known before the pack is built."""
    name = chosen.manifest.score_name
    assert name.startswith("weakest_box sha256:")
    assert declared_score_name(CHOSEN, tmp_path) == name
    assert declared_score_name(spec(keep=0.5), tmp_path) != name
    assert declared_score_name(spec(nothing_found=0.5), tmp_path) != name


@dataclass(frozen=True)
class Fewer:
    """A session whose graph gives fewer boxes than it declares; graphs may leave that number open."""

    session: Session

    @property
    def facts(self) -> SessionFacts:
        """As the real one's."""
        return self.session.facts

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All boxes but the last."""
        return {name: values[:, :-1] for name, values in self.session.run(inputs).items()}

    def open(self) -> None:
        """It is open."""

    def warm_up(self) -> None:
        """It is warm."""

    def close(self) -> None:
        """Nothing is held."""


def test_golden_boxes_are_reproduced_or_the_pack_fails(tmp_path: Path) -> None:
    """All three outputs are compared; another number of boxes is infinitely far off."""
    pack = build_detector(tmp_path, WITH_GOLDEN)
    session = open_session(pack)
    try:
        whole, fewer = golden_on(session, pack), golden_on(Fewer(session), pack)
    finally:
        session.close()
    assert whole.is_ok
    assert (fewer.is_ok, "largest difference inf" in fewer.detail) == (False, True)
    (tmp_path / "sources" / "classes.npy").write_bytes(write_npy(np.ones((2, BOXES), np.float32)))
    other = build_spec(replace(WITH_GOLDEN, version="2.0.0"), tmp_path / "sources", tmp_path / "layout")
    assert check_golden(other).is_ok is False


def spec(outputs: tuple[OutputEntry, ...] | None = None, **changes: Any) -> PackSpec:  # noqa: ANN401 - fields of the entry
    """`CHOSEN` with its outputs or its way to tell boxes changed."""
    assert CHOSEN.detection is not None
    return replace(CHOSEN, outputs=outputs or CHOSEN.outputs, detection=replace(CHOSEN.detection, **changes))


def out(name: str, *shape: int, datatype: str = "FP32") -> OutputEntry:
    """One output."""
    return OutputEntry(name=name, datatype=datatype, shape=shape)


BOX, SCORE, CLASS = CHOSEN.outputs


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        (replace(CHOSEN, detection=None), "detection: belongs to the task detection, which needs it"),
        (replace(CHOSEN, task="tensor", labels=()), "detection: belongs to the task detection"),
        (replace(CHOSEN, labels=()), "labels: must be present and each different"),
        (replace(CHOSEN, labels=("nut", "nut")), "labels: must be present and each different"),
        (replace(CHOSEN, labels=("nut\n",)), "labels: 'nut.n' must be 1 to 200 printable characters"),
        (replace(CHOSEN, agreement_loss="zero_one"), "agreement_loss: of the task detection it is matched_boxes"),
        (
            spec(boxes="rectangles"),
            r"detection.boxes: there is no output 'rectangles'; it must be a float \[-1, n, 4\]",
        ),
        (spec(classes="scores"), "detection: 'scores' is named twice"),
        (
            spec((out("boxes", -1, 5, 5), SCORE, CLASS)),
            r"detection.boxes: output 'boxes' must be a float \[-1, n, 4\], not FP32 \[-1, 5, 5\]",
        ),
        (
            spec((out("boxes", -1, 5, 4, datatype="INT32"), SCORE, CLASS)),
            r"detection.boxes: output 'boxes' must be a float \[-1, n, 4\], not INT32 \[-1, 5, 4\]",
        ),
        (
            spec((BOX, out("scores", -1, 5, 2), CLASS)),
            r"detection.scores: output 'scores' must be a float \[-1, n\], not FP32 \[-1, 5, 2\]",
        ),
        (
            spec((BOX, SCORE, out("classes", -1, 5, datatype="BOOL"))),
            r"detection.classes: output 'classes' must be an integer or a float \[-1, n\], not BOOL \[-1, 5\]",
        ),
        (spec((BOX, out("scores", -1, 6), CLASS)), "detection: its outputs hold as many boxes each, not 5 and 6"),
        (
            spec(classes=None, suppress_iou=0.5),
            r"detection.scores: output 'scores' must be a float \[-1, n, 2\], not FP32 \[-1, 5\]",
        ),
        (spec(suppress_iou=0.5), "detection.suppress_iou: is needed without classes"),
        (
            replace(CANDIDATES, detection=DetectionEntry(boxes="boxes", scores="scores", units="pixels", keep=0.4)),
            "detection.suppress_iou: is needed without classes",
        ),
        (spec(units="miles"), "detection.units: must be one of pixels, share"),
        (spec(keep=0.0), "detection: keep must be strictly between 0 and 1"),
        (spec(keep=1.5), "detection.keep: must be a number from 0"),
        (spec(agree_iou=0.0), "agree_iou above 0"),
        (spec(max_boxes=301), "detection.max_boxes: must be an integer from 1 to 300"),
        (spec(nothing_found=2.0), "detection.nothing_found: must be a number from 0"),
        (
            replace(WITH_GOLDEN, outputs=(out("boxes", -1, -1, 4), out("scores", -1, -1), out("classes", -1, -1))),
            "golden: a detector's examples need outputs with a fixed number of boxes",
        ),
    ],
)
def test_what_a_detector_cannot_mean_is_refused(tmp_path: Path, declared: PackSpec, problem: str) -> None:
    """The tensor is named, with what was expected, before anybody can load such a pack."""
    with pytest.raises(PackError, match=problem):
        build_detector(tmp_path, declared)


def test_the_number_of_boxes_may_be_left_open(tmp_path: Path) -> None:
    """Many graphs end in a suppression of their own, which gives as many boxes as there are."""
    outputs = (out("boxes", -1, -1, 4), out("scores", -1, -1), out("classes", -1, -1))
    pack = build_detector(tmp_path, replace(CHOSEN, outputs=outputs))
    none = {"boxes": np.zeros((1, 0, 4)), "scores": np.zeros((1, 0)), "classes": np.zeros((1, 0))}
    assert score(pack.manifest, none) == (Scored(Detection((), "pixels", 0.5), 0.0, None),)
    by_label = {"boxes": np.zeros((2, 0, 4)), "scores": np.zeros((2, 0, len(LABELS)))}
    (tmp_path / "by-label").mkdir()
    assert len(score(build_detector(tmp_path / "by-label", CANDIDATES).manifest, by_label)) == 2
