"""The bench harness judges rows by their goals and gives every side the same chances."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.bench.harness import Goal, Host, interleave, report, row


def test_a_row_with_a_baseline_carries_the_ratio() -> None:
    """The ratio is value over baseline, and the goal on it is judged."""
    measured = row("latency", "ms", 3.0, baseline=2.0, goal=Goal("ratio", "<=", 1.5))
    assert (measured.ratio, measured.goal, measured.ok) == (1.5, "ratio <= 1.5", True)


def test_a_missed_goal_is_said_and_not_raised() -> None:
    """A value past its limit is a row that is not ok."""
    assert row("coverage", "fraction", 0.5, goal=Goal("value", ">=", 0.95)).ok is False


def test_a_row_without_a_goal_is_neither_kept_nor_missed() -> None:
    """Without a goal ``ok`` is null."""
    assert row("rate", "1/s", 100.0).ok is None


def test_a_goal_on_a_ratio_without_a_baseline_is_refused() -> None:
    """A ratio that cannot be computed cannot be judged."""
    with pytest.raises(ValueError, match="needs a baseline"):
        row("latency", "ms", 3.0, goal=Goal("ratio", "<=", 1.5))


@pytest.mark.parametrize(("of", "relation"), [("speed", "<="), ("value", "<")])
def test_a_goal_that_cannot_be_judged_is_refused(of: str, relation: str) -> None:
    """Only value and ratio, only <= and >=."""
    with pytest.raises(ValueError, match="a goal is on"):
        Goal(of, relation, 1.0)


def test_sides_take_turns_and_warm_up_is_thrown_away() -> None:
    """Each round turns the order round; the medians leave the warm-up out."""
    order: list[str] = []
    values = {"ours": iter([99.0, 1.0, 2.0, 3.0]), "theirs": iter([99.0, 4.0, 5.0, 6.0])}

    def side(name: str) -> float:
        order.append(name)
        return next(values[name])

    medians = interleave({"ours": lambda: side("ours"), "theirs": lambda: side("theirs")}, rounds=3)
    assert medians == {"ours": 2.0, "theirs": 5.0}
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs", "theirs", "ours"]


def _measured_on(stat: Path, takes: list[tuple[int, float]]) -> tuple[Host, Iterator[float]]:
    """A host, and what it yields where each measurement takes 1,000 ticks, so many of them taken away."""
    taken_so_far, all_so_far = 0, 0

    def tell(taken: int, ticks: int) -> None:
        nonlocal taken_so_far, all_so_far
        taken_so_far, all_so_far = taken_so_far + taken, all_so_far + ticks
        stat.write_text(f"cpu  {all_so_far - taken_so_far} 0 0 0 0 0 0 {taken_so_far} 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")

    left = iter(takes)

    def measure() -> float:
        taken, value = next(left)
        tell(taken, 1_000)
        return value

    tell(0, 0)
    host = Host(stat)
    return host, iter(partial(host.undisturbed, measure), None)


def test_what_the_host_disturbed_is_measured_again(tmp_path: Path) -> None:
    """The first undisturbed try counts, whatever it measured; the next measurement begins anew."""
    host, measured = _measured_on(tmp_path / "stat", [(200, 1.0), (11, 2.0), (10, 9.0), (0, 3.0)])
    assert [next(measured), next(measured)] == [9.0, 3.0]
    assert (host.repeated, host.most) == (2, 0.01)


def test_after_a_few_tries_the_least_disturbed_counts(tmp_path: Path) -> None:
    """A host that is never quiet does not hold a bench up for ever, and the report says how quiet it was."""
    host, measured = _measured_on(tmp_path / "stat", [(300, 1.0), (20, 7.0), (20, 5.0), (40, 2.0)])
    assert next(measured) == 7.0
    assert (host.repeated, host.most) == (3, 0.02)


def test_a_machine_that_tells_nothing_is_believed(tmp_path: Path) -> None:
    """Where there is no /proc/stat each measurement counts."""
    host = Host(tmp_path / "none")
    assert host.undisturbed(lambda: 4.0) == 4.0
    assert (host.repeated, host.most) == (0, 0.0)


def test_the_report_is_written_in_the_documented_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON file has name, machine and rows; the table names the case."""
    path = report("demo", [row("latency", "ms", 3.0, baseline=2.0)], folder=tmp_path)
    document = json.loads(path.read_text())
    assert list(document) == ["name", "machine", "rows"]
    assert document["rows"] == [
        {
            "case": "latency",
            "unit": "ms",
            "value": 3.0,
            "baseline": 2.0,
            "ratio": 1.5,
            "goal": None,
            "ok": None,
            "note": "",
        }
    ]
    assert {"cpu", "cores", "python", "date"} <= set(document["machine"])
    assert "latency" in capsys.readouterr().out
