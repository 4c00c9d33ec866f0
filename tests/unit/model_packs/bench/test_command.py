"""`model-pack bench` measures on this machine, says what pays, and leaves it where programs read it."""

import json
from pathlib import Path
from typing import Any

import pytest

from model_packs.cli import execute
from model_packs.engines.machine import this_machine
from model_packs.engines.opening import open_session
from model_packs.engines.options import EngineOptions
from model_packs.engines.tuning import read_tunings
from model_packs.errors import MissingEngineError
from model_packs.pack_spec import VariantEntry
from model_packs.process.exits import CliError, Exit
from tests.simulators.packs import build_tiny


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack with two variants of one graph, one of them for an engine of the future."""
    folder = tmp_path_factory.mktemp("pack")
    variants = (VariantEntry(id="warped", engine="warp", file="model.onnx"), VariantEntry(id="fp32", file="model.onnx"))
    build_tiny(folder, variants=variants)
    return folder / "layout"


def bench(layout: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Run the command; its document."""
    assert execute(["bench", str(layout), "--quick", "--json", *arguments]) == Exit.OK
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_the_document_has_every_figure(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Threads, the curve up to the pack's limit, what pays, what was passed over and what did not run."""
    document = bench(layout, capsys)
    assert document["schema"] == "tandem.bench/1"
    assert document["tuning_file"] is None
    (pack,) = document["packs"]
    assert pack["not_run"][0]["variant"] == "warped"
    (variant,) = pack["variants"]
    assert [point["batch"] for point in variant["curve"]] == [1, 2, 4]
    assert all(point["run_us"] > 0 and point["window_us"] > 0 for point in variant["curve"])
    assert variant["max_batch"] in (1, 2, 4)
    assert variant["by_threads"][0]["threads"] == 1
    assert variant["golden_right"] == 1.0
    assert variant["passed_over"][0]["what"] == "CUDAExecutionProvider"


def test_what_was_measured_is_used_by_the_next_opening(
    layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The session's facts name the measurement, and its threads."""
    path = tmp_path / "tuning.json"
    (variant,) = bench(layout, capsys, "--tuning", str(path))["packs"][0]["variants"]
    tunings = read_tunings(path, this_machine())
    session = open_session(build_tiny(tmp_path), EngineOptions(tunings=tunings))
    facts = session.facts
    session.close()
    assert facts.tuning is not None
    assert facts.tuning.max_batch == variant["max_batch"]
    assert facts.threads == variant["threads"]


def test_the_table_says_what_pays(layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For a person: the machine, the figures, the verdicts, the file."""
    path = tmp_path / "tuning.json"
    assert execute(["bench", str(layout), "--quick", "--tuning", str(path)]) == Exit.OK
    text = capsys.readouterr().out
    assert text.startswith(f"tiny-edge@1.0.0 on {this_machine().cpu}")
    assert "no batching" in text or "batches of up to" in text
    assert "warped: not run" in text
    assert f"written to {path}" in text


def test_a_pack_that_does_not_run_here_says_why(tmp_path: Path) -> None:
    """And which pack is not there."""
    build_tiny(tmp_path, variants=(VariantEntry(id="warped", engine="warp", file="model.onnx"),))
    with pytest.raises(CliError, match="does not run here: warped: ") as caught:
        execute(["bench", str(tmp_path / "layout"), "--quick"])
    assert isinstance(caught.value.__cause__, MissingEngineError)
    with pytest.raises(CliError, match="holds no such pack"):
        execute(["bench", str(tmp_path / "layout"), "--pack", "other@1.0.0"])
