"""What several packs say becomes one answer by the declared rule."""

from pathlib import Path

import numpy as np
import pytest

from cloud_hub.core.serving.fusing import NO_MEMBER, Rule, fuse_outputs, fuse_scored, mismatch
from model_packs.outputs import Classification
from model_packs.scoring import Scored
from tests.simulators.detector_packs import CANDIDATES, build_detector
from tests.simulators.packs import build_tiny

FIRST = {"y": np.array([[4.0, 0.0], [1.0, 3.0]], np.float32)}
SECOND = {"y": np.array([[0.0, 2.0], [0.0, 5.0]], np.float32)}


@pytest.mark.parametrize(
    ("rule", "fused"),
    [
        (Rule.MEAN, [[2.0, 1.0], [0.5, 4.0]]),
        (Rule.WEIGHTED, [[1.0, 1.5], [0.25, 4.5]]),
        (Rule.VOTE, [[0.25, 0.75], [0.0, 1.0]]),
    ],
)
def test_raw_outputs_are_fused_by_the_rule(rule: Rule, fused: list[list[float]]) -> None:
    """Weights 1 to 3: a mean ignores them, a weighted mean and a vote do not; the dtype stays."""
    found = fuse_outputs(rule, [FIRST, SECOND], [1.0, 3.0])["y"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, fused)


def said(ok: float) -> Scored:
    """A member's answer."""
    return Scored(Classification("ok" if ok >= 0.5 else "bad", {"ok": ok, "bad": 1 - ok}), max(ok, 1 - ok), None)


@pytest.mark.parametrize(("rule", "ok"), [(Rule.MEAN, 0.5), (Rule.WEIGHTED, 0.35), (Rule.VOTE, 0.25)])
def test_answers_are_fused_as_probabilities(rule: Rule, ok: float) -> None:
    """Of 0.8 and 0.2 with the weights 1 and 3; the confidence is the fused probability of the label."""
    (fused,) = fuse_scored(rule, [[said(0.8)], [said(0.2)]], [1.0, 3.0], ("ok", "bad"))
    assert isinstance(fused.output, Classification)
    assert fused.output.scores == pytest.approx({"ok": ok, "bad": 1 - ok})
    assert fused.output.label == ("ok" if ok >= 0.5 else "bad")
    assert fused.confidence == pytest.approx(max(ok, 1 - ok))


def test_who_could_not_score_has_no_voice() -> None:
    """One of two is fused alone; where none could, the answer says why if they agree."""
    broken, other = Scored(None, 0.0, "non_finite"), Scored(None, 0.0, "escalate_output_range")
    fused = fuse_scored(Rule.MEAN, [[broken, broken, broken], [said(0.9), broken, other]], [1, 1], ("ok", "bad"))
    assert fused[0].confidence == pytest.approx(0.9)
    assert fused[0].unscorable is None
    assert [one.unscorable for one in fused[1:]] == ["non_finite", NO_MEMBER]


def test_members_must_take_and_give_the_same(tmp_path: Path) -> None:
    """Other labels are named; a pack fits itself."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = build_tiny(tmp_path / "a", name="a", role="hub", escalates_to=None).manifest
    other = build_tiny(
        tmp_path / "b", name="b", role="hub", escalates_to=None, labels=("idle", "moving", "worn")
    ).manifest
    assert mismatch(one, one) is None
    assert mismatch(one, other) == "a@1.0.0 and b@1.0.0 have not the same labels"


def test_boxes_are_not_fused(tmp_path: Path) -> None:
    """A mean of two boxes stands where neither member found anything."""
    one = build_detector(tmp_path, CANDIDATES).manifest
    assert (
        mismatch(one, one) == "candidates-hub@1.0.0 tells boxes: a mean of boxes is none, so such answers are not fused"
    )
