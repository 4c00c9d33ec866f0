"""`model-pack calibrate`: from logits and outcomes to lines for pack.toml."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

from model_packs.build import build_pack
from model_packs.calibrating import calibrate, to_toml
from model_packs.calibration.temperature import softmax
from model_packs.cli import execute
from model_packs.process.exits import CliError, Exit
from tests.simulators.packs import LABELS, write_sources
from tests.unit.model_packs.calibration.test_deferral import specialist
from tests.unit.model_packs.test_build import PACK_TOML


def written(path: Path, **arrays: ArrayLike) -> Path:
    """A file of rows."""
    np.savez(path, allow_pickle=True, **{name: np.asarray(values) for name, values in arrays.items()})
    return path


def too_sure(path: Path, n_rows: int = 2000, **more: ArrayLike) -> Path:
    """Rows of a model whose logits are twice as large as they should be."""
    generator = np.random.default_rng(2)
    logits = generator.normal(0.0, 4.0, (n_rows, 3))
    labels = (generator.random((n_rows, 1)) < softmax(logits, 2.0).cumsum(axis=1)).argmax(axis=1)
    return written(path, logits=logits, labels=labels, **more)


def test_a_model_that_is_too_sure_gets_a_temperature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The printed lines are TOML, with the evidence beside, and the JSON document says the same."""
    scores = too_sure(tmp_path / "rows.npz")
    assert execute(["calibrate", "--scores", str(scores)]) == Exit.OK
    printed = capsys.readouterr().out
    assert tomllib.loads(printed)["temperature"] == pytest.approx(2.0, rel=0.15)
    assert "accepted: temperature" in printed
    assert "give hub_correct" in printed
    assert execute(["calibrate", "--scores", str(scores), "--json"]) == Exit.OK
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "tandem.calibrated/1"
    assert document["scaling"]["temperature"] == tomllib.loads(printed)["temperature"]


def test_what_is_printed_can_be_built(tmp_path: Path) -> None:
    """A vector scaling and a deferral score, pasted under a pack.toml, are in the pack that it builds."""
    table, edge_right, hub_right = specialist(3000, seed=8)
    generator = np.random.default_rng(9)
    keep = np.array([0, 1, 2])
    logits = np.log(table)[:, keep] * np.array([0.4, 1.6, 1.0]) + np.array([1.0, -1.0, 0.0])
    logits += generator.normal(0.0, 0.3, logits.shape)
    answer = logits.argmax(axis=1)
    labels = np.where(edge_right, answer, (answer + 1) % 3)
    found = calibrate(
        written(tmp_path / "rows.npz", logits=logits, labels=labels, hub_correct=hub_right, names=list(LABELS))
    )
    lines = to_toml(found)
    top, _, tables = lines.partition("\n\n")
    write_sources(tmp_path)
    (tmp_path / "pack.toml").write_text(f"{top}\n{PACK_TOML}\n{tables}\n")

    manifest = build_pack(tmp_path / "pack.toml", tmp_path / "layout").manifest

    assert found.scaling.vector is not None
    assert manifest.vector_scaling == found.scaling.vector
    assert found.deferral is not None
    assert found.deferral.deferral is not None
    assert manifest.score is not None
    assert manifest.score.weights == found.deferral.deferral.weights
    assert manifest.score.bias == found.deferral.deferral.bias


def test_a_deferral_score_that_does_not_help_is_told_and_left_out(tmp_path: Path) -> None:
    """Where the hub is right everywhere, max probability is as good."""
    scores = too_sure(tmp_path / "rows.npz", hub_correct=np.ones(2000, dtype=bool))
    lines = to_toml(calibrate(scores))
    assert "not accepted: the largest probability stays the score" in lines
    assert "score" not in tomllib.loads(lines)


def test_a_deferral_score_that_cannot_be_learned_says_why(tmp_path: Path) -> None:
    """Where the hub never helps."""
    lines = to_toml(calibrate(too_sure(tmp_path / "rows.npz", hub_correct=np.zeros(2000, dtype=bool))))
    assert "# no deferral score: the hub is right and the edge is wrong in 0 of " in lines


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"logits": [[0.0, 1.0]]}, "needed are logits and labels"),
        ({"logits": [[0.0, 1.0]], "labels": [0], "mood": [1]}, "holds labels, logits, mood"),
        ({"logits": [[0.0, 1.0]], "labels": [2]}, "class indices from 0 to 1"),
        ({"logits": [[0.0, np.nan]], "labels": [0]}, "not finite"),
        ({"logits": [[0.0, 1.0]], "labels": [0]}, "at least two clusters"),
        ({"logits": [[0.0, 1.0]] * 4, "labels": [0] * 4, "clusters": [7] * 4}, "at least two clusters"),
        ({"logits": [[0.0, 1.0]] * 4, "labels": [1] * 4}, "all rows are of label 1"),
        ({"logits": np.empty((0, 2)), "labels": []}, "no rows"),
        ({"logits": [[0.0, 1.0]] * 2, "labels": [0, 1], "clusters": [1]}, "one value a row"),
        ({"logits": [[0.0, 1.0]] * 2, "labels": [0, 1], "names": ["a"]}, "one a label"),
        ({"logits": [[0.0, 1.0]] * 2, "labels": [0.0, 0.7]}, "whole numbers"),
        ({"logits": [[0.0, 1.0]] * 2, "labels": [0.0, np.nan]}, "whole numbers"),
        ({"logits": [[0.0, 1.0]] * 2, "labels": ["0", "1"]}, "whole numbers"),
        ({"logits": [[0.0, 1e308]] * 4, "labels": [0, 1, 1, 0]}, "too large to be scaled"),
        ({"logits": [[0.0, 1.0]] * 2, "labels": [0, 1], "names": ["a", "a"]}, "a label twice"),
        ({"logits": [[0.0, 1.0]] * 2, "labels": [0, 1], "hub_correct": [0, 2]}, "hub_correct holds right"),
    ],
)
def test_rows_that_make_no_sense_are_named(tmp_path: Path, arrays: dict[str, ArrayLike], reason: str) -> None:
    """The message names the file and what is wrong with it."""
    scores = written(tmp_path / "rows.npz", **arrays)
    with pytest.raises(CliError, match=reason) as caught:
        execute(["calibrate", "--scores", str(scores)])
    assert str(scores) in caught.value.message
    assert caught.value.exit is Exit.DATA


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    """Text instead of arrays."""
    (tmp_path / "rows.npz").write_text("logits")
    with pytest.raises(CliError, match=r"not an \.npz file"):
        execute(["calibrate", "--scores", str(tmp_path / "rows.npz")])


def test_a_single_array_is_named(tmp_path: Path) -> None:
    """An .npy file has no names: the message says how to give them."""
    np.save(tmp_path / "rows.npy", np.zeros((4, 2)))
    with pytest.raises(CliError, match=r"numpy\.savez"):
        execute(["calibrate", "--scores", str(tmp_path / "rows.npy")])
