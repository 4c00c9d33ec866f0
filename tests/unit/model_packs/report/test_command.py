"""`model-pack report`: from a pack and rows to a page."""

import json
import os
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
from numpy.typing import ArrayLike

from model_packs.cli import execute
from model_packs.process.exits import CliError, Exit
from tests.simulators.packs import build_tiny

REPOSITORY = Path(__file__).parents[4]
SHIPPED = REPOSITORY / "model_packs" / "shipped"


def failure(*arguments: str | Path) -> CliError:
    """Run a report that must fail."""
    with pytest.raises(CliError) as caught:
        execute(["report", *(str(argument) for argument in arguments)])
    assert caught.value.mend
    return caught.value


def written(path: Path, **arrays: ArrayLike) -> Path:
    """A file of scores."""
    np.savez(path, allow_pickle=True, **{name: np.asarray(values) for name, values in arrays.items()})
    return path


def test_a_pack_of_one_s_own_is_reported_from_its_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page lies where it was asked for, or is named by the pack; names may be given by their place."""
    build_tiny(tmp_path)
    scores = written(
        tmp_path / "scores.npz",
        score=[0.2, 0.6, 0.9],
        correct=[False, True, True],
        hub_correct=[1, 1, 1],
        predicted=[0, 1, 2],
        tune_scores=[0.5],
        clusters=[1, 1, 2],
    )
    monkeypatch.chdir(tmp_path)

    assert execute(["report", str(tmp_path / "layout"), "--scores", str(scores), "-o", "page.html"]) == Exit.OK
    assert "page.html: tiny-edge@1.0.0 on 3 rows (scores.npz)" in capsys.readouterr().out
    assert execute(["report", str(tmp_path / "layout"), "--scores", str(scores)]) == Exit.OK

    page = (tmp_path / "page.html").read_text()
    assert (tmp_path / "tiny-edge-1.0.0-report.html").read_text() == page
    assert "This pack promises nothing" in page
    assert "What asking the hub buys" in page


def test_answers_themselves_do_instead_of_outcomes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Predicted, label and the hub's answer give the outcomes of both; rows that only tuned are left out."""
    build_tiny(tmp_path)
    scores = written(
        tmp_path / "scores.npz",
        score=[0.2, 0.6, 0.9, 0.5],
        predicted=["idle", "moving", "idle", "idle"],
        label=["broken", "moving", "idle", "idle"],
        hub_predicted=["broken", "moving", "moving", "idle"],
        is_tuning=[False, False, False, True],
    )
    arguments = ["--scores", str(scores), "-o", str(tmp_path / "page.html"), "--json"]
    assert execute(["report", str(tmp_path / "layout"), *arguments]) == Exit.OK
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert (figures["n_rows"], figures["edge"]["count"], figures["hub"]["count"]) == (3, 2, 2)


def test_the_figures_are_there_for_programs_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints one document; the page is written all the same."""
    build_tiny(tmp_path)
    scores = written(tmp_path / "scores.npz", score=[0.2, 0.6], correct=[0, 1], hub_correct=[1, 1], predicted=[0, 1])
    page = tmp_path / "page.html"
    assert execute(["report", str(tmp_path / "layout"), "--scores", str(scores), "-o", str(page), "--json"]) == Exit.OK
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["ref"]) == ("tandem.report/1", "tiny-edge@1.0.0")
    assert document["figures"]["edge"] == {"count": 1, "of": 2, "low": pytest.approx(0.0126, abs=1e-4), "high": ANY}
    assert document["figures"]["least_escalated"] == {"as_hub": 0.5, "half_a_point_less": 0.5}
    assert document["figures"]["point"] is None
    assert page.exists()


def test_without_scores_a_pack_of_one_s_own_says_what_is_missing(tmp_path: Path) -> None:
    """Its rows are known to its author only."""
    build_tiny(tmp_path)
    error = failure(tmp_path / "layout")
    assert "of no shipped family" in error.message
    assert "--scores" in error.mend
    assert error.exit is Exit.USAGE


def test_a_layout_with_several_packs_asks_which(tmp_path: Path) -> None:
    """Only edge packs are meant."""
    build_tiny(tmp_path)
    build_tiny(tmp_path, version="1.1.0", seed=8)
    scores = written(tmp_path / "scores.npz", score=[0.2], correct=[True])
    error = failure(tmp_path / "layout", "--scores", scores)
    assert "tiny-edge@1.0.0, tiny-edge@1.1.0" in error.message
    assert "--pack" in error.mend
    assert (
        "tiny-edge@1.0.0, tiny-edge@1.1.0"
        in failure(tmp_path / "layout", "--scores", scores, "--pack", "tiny-edge@2.0.0").message
    )
    arguments = ["--scores", str(scores), "--pack", "tiny-edge@1.1.0", "-o", str(tmp_path / "page.html")]
    assert execute(["report", str(tmp_path / "layout"), *arguments]) == Exit.OK


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"score": [0.1]}, "correct is missing"),
        ({"correct": [True]}, "score is needed"),
        (
            {"score": [0.1], "correct": [True], "colour": [1]},
            "holds colour, correct, score; score is needed, known are",
        ),
        ({"score": [], "correct": []}, "holds no rows"),
        ({"score": [np.nan], "correct": [True]}, "score must be finite numbers"),
        ({"score": ["high"], "correct": [True]}, "score must be finite numbers"),
        ({"score": [-1e308], "correct": [True]}, "score reaches beyond 1e+300"),
        ({"score": [0.1, 0.2], "correct": [True]}, "correct must be one list of 2 values"),
        ({"score": [0.1], "correct": [2]}, "correct is yes"),
        ({"score": [0.1], "correct": [True], "hub_correct": [2]}, "hub_correct is yes"),
        ({"score": [0.1], "correct": [True], "hub_correct": [[1]]}, "hub_correct must be one list"),
        ({"score": [0.1], "correct": [True], "predicted": ["flying"]}, "predicted holds the pack's labels"),
        ({"score": [0.1], "correct": [True], "predicted": [3]}, "predicted holds the pack's labels"),
        ({"score": [0.1], "correct": [True], "probability": [1.5]}, "probability lies between 0 and 1"),
    ],
)
def test_rows_that_make_no_sense_are_named(tmp_path: Path, arrays: dict[str, ArrayLike], reason: str) -> None:
    """The message names the file and the array, and nothing is written."""
    build_tiny(tmp_path)
    scores = written(tmp_path / "scores.npz", **arrays)
    error = failure(tmp_path / "layout", "--scores", scores, "-o", tmp_path / "page.html")
    assert reason in error.message
    assert str(scores) in error.message
    assert error.exit is Exit.DATA
    assert not (tmp_path / "page.html").exists()


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    """Text instead of arrays, and pickled objects, are refused."""
    build_tiny(tmp_path)
    (tmp_path / "scores.npz").write_text("score,correct")
    assert "not an .npz file" in failure(tmp_path / "layout", "--scores", tmp_path / "scores.npz").message
    np.savez(tmp_path / "objects.npz", score=np.array([object()]), correct=[True])
    assert "not an .npz file" in failure(tmp_path / "layout", "--scores", tmp_path / "objects.npz").message


@pytest.mark.parametrize(
    ("layout", "seen"),
    [
        ("motion_band/packs/motion-band-edge-1.0.0", "Here 88.4 % stayed, and <b>8 of 457</b>"),
        ("form_digits/packs/form-digits-edge-1.0.0", "Here 94.1 % stayed, and <b>6 of 941</b>"),
    ],
)
def test_a_shipped_pack_is_reported_on_its_field_rows(tmp_path: Path, layout: str, seen: str) -> None:
    """With its hub's answers, the figures of its card; skipped by name where the wheel cannot be fetched."""
    data = REPOSITORY / "build" / "data"
    try:
        code = execute(["report", str(SHIPPED / layout), "--data", str(data), "-o", str(tmp_path / "page.html")])
    except CliError as error:
        if os.environ.get("CI") == "true" or error.exit is not Exit.UNAVAILABLE:
            raise
        pytest.skip(error.message)
    page = (tmp_path / "page.html").read_text()
    assert code == Exit.OK
    assert seen in page
    assert "hub alone" in page
    assert "The promise held here." in page
