"""Runs the shortest scenarios of the chaos suite with every test run; `make chaos` runs them all."""

import re
from pathlib import Path

import pytest

from tests.chaos.plant import Setting, found
from tests.chaos.reliability_page import COMMAND, Outcome, Result, kept, write_page
from tests.chaos.scenarios import SCENARIOS

SHORT = ("rst", "broker-down-while-verdicts-arrive")
SEED = 4


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub with an enrolled device that each scenario copies."""
    return found(tmp_path_factory.mktemp("founded"))


@pytest.mark.parametrize("name", SHORT)
def test_a_short_scenario_passes(name: str, founded: Path, run_folder: Path) -> None:
    """Its own checks raise what is wrong; its line begins with what was owed, lost and done twice."""
    figures = SCENARIOS[name].run(Setting(run_folder, founded, SEED))
    assert re.match(r"[\d,]+ owed, 0 lost, 0 twice", figures)


def test_each_scenario_says_when_it_passes() -> None:
    """The first line of its docstring is its pass line."""
    assert [name for name, one in SCENARIOS.items() if not one.pass_line.endswith(".")] == []


def test_the_table_goes_between_its_marks(tmp_path: Path) -> None:
    """What stands around it stays, and an older table goes."""
    page = tmp_path / "reliability.md"
    begin, end = f"<!-- begin: {COMMAND} -->", f"<!-- end: {COMMAND} -->"
    page.write_text(f"# Words\n{begin}\nold\n{end}\nmore words\n")
    Result("flap", "Nothing is lost.", Outcome.OK, "12 owed", 3.4, 7, "2026-11-22").keep(tmp_path)
    flap = kept(tmp_path)
    assert flap is not None
    write_page(page, [[flap]])
    text = page.read_text()
    assert text.startswith(f"# Words\n{begin}\n")
    assert text.endswith(f"{end}\nmore words\n")
    assert "| 1 | `flap` | Nothing is lost. | 12 owed | 3 s | 7 |" in text
    assert "2026-11-22" in text
    assert "old" not in text


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    """Better no table than one that nobody finds."""
    page = tmp_path / "reliability.md"
    page.write_text("# Words\n")
    with pytest.raises(ValueError, match="make chaos"):
        write_page(page, [])
