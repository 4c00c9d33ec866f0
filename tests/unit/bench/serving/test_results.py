"""How targets become rows, tables and pictures, also those that do not run."""

from pathlib import Path

from tests.bench.harness import Goal
from tests.bench.serving import results
from tests.bench.serving.load import Load
from tests.bench.serving.models import TINY
from tests.bench.serving.target import Launch, Sizes, Target, TargetError, measure, short

GOAL = Goal("ratio", "<=", 0.5)
CPU = results.at(8, lambda load: load.cpu_s)


def _never(_folder: Path) -> Launch:
    raise TargetError("the interpreter\nis missing")


def _measured(name: str, *cpu_s: float) -> Target:
    return Target(name, TINY, _never, loads={8: [Load(1000.0, 1.0, 2.0, each) for each in cpu_s]})


def test_a_server_that_cannot_start_says_why_and_stands_aside(tmp_path: Path) -> None:
    """It fails nothing, and takes no part in the rounds."""
    away = Target("away 1.2.3", TINY, _never)
    away.open(tmp_path, None)
    assert away.reason == "the interpreter is missing"
    assert away.load(8, 0.1) is None
    assert measure([away], 8, Sizes(1, 0.1), "nobody") == {}
    assert away.median(8, lambda load: load.cpu_s) is None


def test_medians_stand_beside_each_other() -> None:
    """Our median over theirs, judged by the goal of that peer."""
    ours, theirs = _measured("ours", 0.1, 0.3, 0.2), _measured("peer 1.0.0", 0.5)
    (row,) = results.beside("CPU", "s", ours, [(theirs, GOAL)], CPU)
    assert (row.case, row.value, row.baseline, row.ok) == ("CPU, beside peer 1.0.0", 0.2, 0.5, True)


def test_a_missing_side_is_a_row_with_its_reason() -> None:
    """Of the peer, or of ours: never a failure, and never a figure."""
    ours, away = _measured("ours", 0.1), Target("peer", TINY, _never, reason="no wheel")
    (row,) = results.beside("CPU", "s", ours, [(away, GOAL)], CPU)
    assert (row.value, row.ok, row.note) == (None, None, "not run: no wheel")
    (row,) = results.beside("CPU", "s", away, [(ours, GOAL)], CPU)
    assert (row.value, row.note) == (None, "not run: peer: no wheel")


def test_a_picture_names_every_bar() -> None:
    """Ours looks different, versions are left out, markup in names is text."""
    svg = results.plot("CPU", "s", [("our <agent>", 0.1, True), ("peer 1.0.0", 0.5, False)])
    assert "our &lt;agent&gt;" in svg
    assert svg.count('class="bar edge"') == 1
    assert svg.count('class="bar faint"') == 1


def test_a_short_name_has_no_version() -> None:
    """A quality of service is none."""
    assert short("kserve 0.21.0") == "kserve"
    assert short("agent, QoS 0") == "agent, QoS 0"
