"""The `model-pack` command: what it prints, and how it ends."""

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from model_packs.cli import execute
from model_packs.process.exits import CliError, Exit
from model_packs.signing import generate_site_key
from tests.simulators.detector_packs import CHOSEN, build_detector
from tests.simulators.packs import LABELS, build_tiny, write_sources
from tests.simulators.task_packs import REGRESSION, TENSOR, build_task
from tests.unit.model_packs.test_build import PACK_TOML

LEVELS = ("--target", "0.05", "--delta", "0.05")


DETECTOR_TOML = """
name = "bolts-edge"
version = "1.0.0"
family = "bolts"
role = "edge"
task = "detection"
labels = ["bolt", "nut"]
license = "Apache-2.0"

[[inputs]]
name = "window"
shape = [-1, 5, 6]

[[outputs]]
name = "boxes"
shape = [-1, 5, 4]

[[outputs]]
name = "scores"
shape = [-1, 5, 2]

[detection]
boxes = "boxes"
scores = "scores"
units = "share"
keep = 0.4
suppress_iou = 0.5

[[variants]]
id = "fp32"
file = "model.onnx"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The sources of a pack."""
    folder = tmp_path / "sources"
    folder.mkdir()
    write_sources(folder)
    (folder / "pack.toml").write_text(PACK_TOML)
    return folder


def failure(*arguments: str | Path) -> CliError:
    """Run a command that must fail."""
    with pytest.raises(CliError) as caught:
        execute([str(argument) for argument in arguments])
    assert caught.value.mend
    return caught.value


def output(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Run a command that must succeed, and return what it printed."""
    capsys.readouterr()
    assert execute([str(argument) for argument in arguments]) == Exit.OK
    return capsys.readouterr().out


def test_a_new_folder_explains_itself_and_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`new` writes pack.toml and a README once."""
    assert "describe the model" in output(capsys, "new", tmp_path / "mine")
    assert (tmp_path / "mine" / "README.md").exists()
    assert failure("new", tmp_path / "mine").exit is Exit.USAGE


def test_building_before_the_model_is_there_names_the_file(tmp_path: Path) -> None:
    """The scaffold alone is no pack yet."""
    execute(["new", str(tmp_path / "mine")])
    error = failure("build", tmp_path / "mine", "--out", tmp_path / "layout")
    assert "model.onnx cannot be read" in error.message
    assert error.exit is Exit.DATA


def test_a_pack_is_built_signed_and_verified(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every check of `verify` holds, and the document of `--json` says the same."""
    key = generate_site_key(tmp_path / "site.key")
    (tmp_path / "site.pub").write_text(key.public.pem)
    layout = tmp_path / "layout"
    built = output(capsys, "build", folder, "--out", layout, "--key", tmp_path / "site.key")
    assert f"signed by {key.public.key_id[:12]}" in built
    shown = output(capsys, "verify", layout, "--key", tmp_path / "site.pub")
    assert shown.count("  ok ") == 3
    assert "certificate: the pack carries none" in shown
    document = json.loads(output(capsys, "verify", layout, "--json"))
    assert document["schema"] == "tandem.verify/1"
    assert document["ok"] is True
    assert {check["name"]: check["ok"] for check in document["packs"][0]["checks"]} == {
        "digests": True,
        "signature": None,
        "certificate": None,
        "golden": True,
    }


def test_a_pack_signed_by_nobody_fails_when_a_key_is_given(folder: Path, tmp_path: Path) -> None:
    """A signature that is asked for must be there."""
    key = generate_site_key(tmp_path / "site.key")
    (tmp_path / "site.pub").write_text(key.public.pem)
    execute(["build", str(folder), "--out", str(tmp_path / "layout")])
    error = failure("verify", tmp_path / "layout", "--key", tmp_path / "site.pub")
    assert "signed by nobody" in error.message
    assert error.exit is Exit.DATA


def test_golden_outputs_that_are_not_reproduced_fail(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights that changed after the examples were recorded are found by running them."""
    (folder / "model.onnx").unlink()
    write_sources(tmp_path, seed=8)
    (tmp_path / "model.onnx").rename(folder / "model.onnx")
    execute(["build", str(folder), "--out", str(tmp_path / "layout")])
    assert execute(["verify", str(tmp_path / "layout")]) == Exit.DATA
    assert "FAILED  golden" in capsys.readouterr().out


def test_inspect_says_how_far_off_a_number_may_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pack without labels tells its task, and a regression what is good enough."""
    for spec in (REGRESSION, TENSOR):
        build_task(tmp_path, spec)
    shown = output(capsys, "inspect", tmp_path / "layout")
    assert "task          regression: good within 0.5 mm, 80% intervals" in shown
    assert "task          tensor" in shown


def test_inspect_says_which_boxes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The labels are those of boxes, and how sure, how many and in which units follows."""
    build_detector(tmp_path, CHOSEN)
    shown = output(capsys, "inspect", tmp_path / "layout")
    assert "detection of bolt, nut: boxes of 0.4 or more, at most 100, in pixels" in shown


def test_inspect_shows_what_a_pack_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For a person and as one document; another version is left out when one is asked for."""
    pack = build_tiny(tmp_path)
    build_tiny(tmp_path, version="1.1.0", seed=8)
    shown = output(capsys, "inspect", tmp_path / "layout", "--pack", "tiny-edge@1.0.0")
    assert str(pack.digest) in shown
    assert "unsigned" in shown
    assert "1.1.0" not in shown
    document = json.loads(output(capsys, "inspect", tmp_path / "layout", "--json"))
    assert document["schema"] == "tandem.inspect/1"
    assert [entry["ref"] for entry in document["packs"]] == ["tiny-edge@1.0.0", "tiny-edge@1.1.0"]
    assert document["packs"][0]["manifest"] == pack.manifest.to_document()


def test_what_is_no_layout_is_named(tmp_path: Path) -> None:
    """A wrong folder, and a pack that is not in it."""
    assert "index.json cannot be read" in failure("inspect", tmp_path).message
    build_tiny(tmp_path)
    assert "holds tiny-edge@1.0.0" in failure("verify", tmp_path / "layout", "--pack", "other@1.0.0").message


def test_a_damaged_pack_ends_with_bad_data(tmp_path: Path) -> None:
    """The message names the pack, the file and the mend."""
    pack = build_tiny(tmp_path)
    path = pack.path("model.onnx")
    path.write_bytes(path.read_bytes()[:-1])
    error = failure("inspect", tmp_path / "layout")
    assert error.message.startswith("tiny-edge@1.0.0: model.onnx:")
    assert error.exit is Exit.DATA


def write_scores(path: Path, n_rows: int = 3000) -> None:
    """Scores of a model that errs less the surer it is."""
    generator = np.random.default_rng(5)
    score = generator.random(n_rows)
    np.savez(path, score=score, correct=generator.random(n_rows) < 0.7 + 0.3 * score)


def test_scores_alone_give_a_threshold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a folder the numbers are printed and nothing is written."""
    write_scores(tmp_path / "scores.npz")
    arguments = ("certify", "--scores", tmp_path / "scores.npz", "--target", "0.1", "--delta", "0.1")
    assert "threshold" in output(capsys, *arguments)
    document = json.loads(output(capsys, *arguments, "--json"))
    assert document["schema"] == "tandem.certified/1"
    assert 0 < document["threshold"] < 1


def test_a_certificate_written_for_a_folder_is_verified_with_its_pack(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`certify DIR` writes certificate.json; built into the pack it is recomputed from its counts by `verify`."""
    write_scores(tmp_path / "scores.npz")
    (tmp_path / "data.npy").write_bytes(b"the data set")
    arguments = ("certify", folder, "--scores", tmp_path / "scores.npz", "--target", "0.1", "--delta", "0.1")
    assert failure(*arguments).exit is Exit.USAGE
    shown = output(
        capsys, *arguments, "--population", "tests", "--dataset", tmp_path / "data.npy", "--valid-days", "30"
    )
    assert "guaranteed" not in shown
    (folder / "pack.toml").write_text('certificate = "certificate.json"\n' + PACK_TOML)
    output(capsys, "build", folder, "--out", tmp_path / "layout")
    assert "ok      certificate: its counts give p =" in output(capsys, "verify", tmp_path / "layout")
    inspected = json.loads(output(capsys, "inspect", tmp_path / "layout", "--json"))
    assert inspected["packs"][0]["certificate"]["population"] == "tests"


def test_a_certificate_for_another_temperature_fails(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scores taken at one temperature say nothing about another."""
    write_scores(tmp_path / "scores.npz")
    scores = tmp_path / "scores.npz"
    rates = ("--target", "0.1", "--delta", "0.1")
    output(capsys, "certify", folder, "--scores", scores, *rates, "--population", "tests", "--dataset", scores)
    (folder / "pack.toml").write_text('certificate = "certificate.json"\ntemperature = 2.0\n' + PACK_TOML)
    execute(["build", str(folder), "--out", str(tmp_path / "layout")])
    assert execute(["verify", str(tmp_path / "layout")]) == Exit.DATA
    assert "issued for the temperature 1.0, not 2.0" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\x80\x04N."])
def test_a_file_that_holds_no_scores_is_named(tmp_path: Path, content: bytes) -> None:
    """Neither rubbish nor a pickle is opened."""
    (tmp_path / "scores.npz").write_bytes(content)
    error = failure("certify", "--scores", tmp_path / "scores.npz", "--target", "0.1", "--delta", "0.1")
    assert "scores.npz: not an .npz file" in error.message


def test_scores_without_outcomes_are_named(tmp_path: Path) -> None:
    """The message lists what is needed and what is missing, by risk."""
    np.savez(tmp_path / "scores.npz", score=np.zeros(3), label=np.zeros(3))
    arguments = ("certify", "--scores", tmp_path / "scores.npz", "--target", "0.1", "--delta", "0.1")
    assert "the risk error needs correct, or the answers themselves" in failure(*arguments).message
    assert "disagreement_with_hub needs agrees" in failure(*arguments, "--risk", "disagreement").message
    assert "correct and hub_correct is missing" in failure(*arguments, "--risk", "excess").message


def test_a_weaker_risk_names_what_it_does_not_see(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Agreement with the hub needs no labels, and the printed line says what that costs."""
    np.savez(tmp_path / "scores.npz", score=np.full(400, 0.9), agrees=np.ones(400))
    shown = output(
        capsys, "certify", "--scores", tmp_path / "scores.npz", *LEVELS, "--risk", "disagreement", "--method", "betting"
    )
    assert "blind to cases where edge and hub give the same wrong answer" in shown


def test_no_threshold_is_printed_with_what_it_would_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An honest outcome is no failure: it exits with 0 and names the number of cases, if any number would do."""
    np.savez(tmp_path / "some.npz", score=np.full(300, 0.9), correct=np.arange(300) % 20 > 0)
    np.savez(tmp_path / "bad.npz", score=np.full(300, 0.9), correct=np.arange(300) % 5 > 0)
    assert "more judged rows like these would do" in output(
        capsys, "certify", "--scores", tmp_path / "some.npz", "--target", "0.07", "--delta", "0.05"
    )
    assert "cannot be told from these" in output(capsys, "certify", "--scores", tmp_path / "bad.npz", *LEVELS)


def test_recordings_and_classes_are_told_where_they_are_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Clusters give a design effect, and classes a report beside the common threshold."""
    score, rows = np.full(1000, 0.9), np.arange(1000)
    np.savez(
        tmp_path / "scores.npz",
        score=score,
        predicted=rows % 2,
        label=np.where(rows % 100 == 1, 0, rows % 2),
        clusters=rows // 50,
    )
    arguments = ("certify", "--scores", tmp_path / "scores.npz", *LEVELS)

    shown = output(capsys, *arguments)
    document = json.loads(output(capsys, *arguments, "--json"))
    apart = output(capsys, *arguments, "--by-group")

    assert "over 14 clusters (sensitivity only)" in shown
    assert "  1: 10 wrong of 500 kept of 500" in shown
    assert document["by_group"][1] == {"group": "1", "n_units": 500, "n_kept": 500, "k_errors": 10}
    assert "0: threshold 0.9" in apart
    grouped = json.loads(output(capsys, *arguments, "--by-group", "--json"))
    assert [group["delta"] for group in grouped["groups"]] == [0.025, 0.025]


def test_clusters_and_groups_go_into_a_pack_and_are_verified(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`certify --unit cluster` and `--by-group` write certificates that `verify` computes again from their counts."""
    rows = np.arange(4000)
    data = tmp_path / "data.npy"
    data.write_bytes(b"the data set")
    np.savez(tmp_path / "scores.npz", score=np.full(4000, 0.9), correct=rows >= 0, clusters=rows // 10, groups=rows % 2)
    stated = ("--scores", tmp_path / "scores.npz", *LEVELS, "--population", "tests", "--dataset", data)
    for number, (unit, sentence) in enumerate(
        [
            (("--unit", "cluster", "--cluster-unit", "recording"), "from 280 calibration recordings"),
            (("--by-group", "--group-unit", "site"), "Keeping by site"),
        ]
    ):
        shown = output(capsys, "certify", folder, *stated, *unit)
        assert sentence in shown
        assert ("Of each recording the first 10 cases count" in shown) == ("cluster" in unit)
        (folder / "pack.toml").write_text('certificate = "certificate.json"\n' + PACK_TOML)
        output(capsys, "build", folder, "--out", tmp_path / f"layout{number}")
        assert "ok      certificate: its counts give p =" in output(capsys, "verify", tmp_path / f"layout{number}")


def test_a_certificate_names_what_its_risk_compares_and_nothing_else(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without words of the author: no labels where there are none, no persons, and the classes as what groups are."""
    rows = np.arange(2000)
    (tmp_path / "data.npy").write_bytes(b"the data set")
    np.savez(tmp_path / "scores.npz", score=np.full(2000, 0.9), agrees=rows >= 0, predicted=rows % 2)
    stated = ("--population", "tests", "--dataset", tmp_path / "data.npy", "--risk", "disagreement")
    arguments = ("certify", folder, "--scores", tmp_path / "scores.npz", *LEVELS, *stated)

    whole = json.loads(output(capsys, *arguments, "--json"))
    apart = json.loads(output(capsys, *arguments, "--json", "--by-group"))

    assert (whole["reference"], whole["assumption"]) == ("tiny-hub@1.0.0", "windows independent")
    assert apart["group_by"] == "predicted_class"
    assert [group["group"] for group in apart["groups"]] == sorted(LABELS[:2])


def test_indices_of_classes_are_said_by_name(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a pack the file may name its labels; an index that names none is refused."""
    rows = np.arange(2000)
    score = np.full(2000, 0.9)
    np.savez(tmp_path / "named.npz", score=score, correct=rows >= 0, predicted=rows % 2, labels=["off", "on"])
    np.savez(tmp_path / "beyond.npz", score=score, correct=rows >= 0, predicted=rows % 4)
    found = json.loads(output(capsys, "certify", "--scores", tmp_path / "named.npz", *LEVELS, "--by-group", "--json"))
    assert [group["group"] for group in found["groups"]] == ["off", "on"]
    stated = ("--population", "tests", "--dataset", tmp_path / "named.npz", "--by-group")
    error = failure("certify", folder, "--scores", tmp_path / "beyond.npz", *LEVELS, *stated)
    assert "predicted holds 3, and there are 3 labels" in error.message


def test_tuning_rows_with_outcomes_make_the_stronger_promise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Marked in the file they are used as those set aside would be; `--promise drawn` leaves their outcomes out."""
    rng = np.random.default_rng(2)
    correct, is_tuning = rng.random(2000) < 0.99, np.arange(2000) < 500
    np.savez(tmp_path / "scores.npz", score=rng.random(2000), correct=correct, is_tuning=is_tuning)
    arguments = ("certify", "--scores", tmp_path / "scores.npz", *LEVELS)
    assert "of those issued, forecast at 90%" in output(capsys, *arguments)
    assert "of draws" in output(capsys, *arguments, "--promise", "drawn")


def test_how_many_rows_of_a_cluster_count_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By default as many as the largest tuning cluster has."""
    rows = np.arange(4000)
    np.savez(tmp_path / "scores.npz", score=np.full(4000, 0.9), correct=rows >= 0, clusters=rows // 10)
    arguments = ("certify", "--scores", tmp_path / "scores.npz", *LEVELS, "--unit", "cluster")
    assert "the first 10 rows count" in output(capsys, *arguments)
    assert "the first 4 rows count" in output(capsys, *arguments, "--largest-cluster", "4")


@pytest.mark.parametrize("days", ["0", "-3", "1000000000"])
def test_a_certificate_that_ends_before_it_begins_is_refused(folder: Path, tmp_path: Path, days: str) -> None:
    """So is one that outlives the calendar."""
    write_scores(tmp_path / "scores.npz", n_rows=400)
    stated = ("--population", "tests", "--dataset", folder / "pack.toml", "--valid-days", days)
    assert "--valid-days" in failure("certify", folder, "--scores", tmp_path / "scores.npz", *LEVELS, *stated).message


def test_by_group_needs_groups_and_clusters_of_their_own(tmp_path: Path) -> None:
    """What is missing, or too much, is named."""
    np.savez(tmp_path / "plain.npz", score=np.zeros(3), correct=np.ones(3))
    np.savez(tmp_path / "tuned.npz", score=np.zeros(3), correct=np.ones(3), tune_scores=np.zeros(3), groups=np.ones(3))
    plain = failure("certify", "--scores", tmp_path / "plain.npz", *LEVELS, "--by-group")
    tuned = failure("certify", "--scores", tmp_path / "tuned.npz", *LEVELS, "--by-group", "--unit", "cluster")
    assert "groups (or predicted) is needed" in plain.message
    assert "set aside from each group's own" in tuned.message


def test_too_few_rows_say_how_many_it_takes(tmp_path: Path) -> None:
    """No threshold is invented from thirty rows."""
    write_scores(tmp_path / "scores.npz", n_rows=30)
    error = failure("certify", "--scores", tmp_path / "scores.npz", "--target", "0.01", "--delta", "0.1")
    assert "collect at least" in error.message


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["inspect"], ["inspect", "x", "--pack", "x"], ["build", "x"]])
def test_wrong_arguments_end_with_usage(arguments: list[str]) -> None:
    """Missing, unknown and malformed arguments exit with 64."""
    with pytest.raises(SystemExit) as caught:
        execute(arguments)
    assert caught.value.code == Exit.USAGE


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` names the program and what was installed."""
    with pytest.raises(SystemExit) as caught:
        execute(["--version"])
    assert caught.value.code == Exit.OK
    assert capsys.readouterr().out == f"model-pack {metadata.version('tandem-edge')}\n"


def test_boxes_are_certified_by_whether_they_are_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One label a row says nothing of boxes and is refused; with `correct` the certificate names the weakest box."""
    (tmp_path / "pack.toml").write_text(DETECTOR_TOML)
    (tmp_path / "model.onnx").write_bytes(b"graph")
    rates = ("--target", "0.1", "--delta", "0.1", "--population", "tests", "--dataset", tmp_path / "model.onnx")
    names = np.array(["bolt", "nut"])[np.random.default_rng(1).integers(0, 2, 500)]
    np.savez(tmp_path / "scores.npz", score=np.linspace(0.0, 1.0, 500), predicted=names, label=names)
    error = failure("certify", tmp_path, "--scores", tmp_path / "scores.npz", *rates)
    assert "predicted, label: one label a row says nothing of boxes; give correct" in str(error)
    write_scores(tmp_path / "right.npz")
    output(capsys, "certify", tmp_path, "--scores", tmp_path / "right.npz", *rates)
    assert json.loads((tmp_path / "certificate.json").read_text())["score"].startswith("weakest_box sha256:")
