"""The installed programs introduce themselves."""

from importlib.metadata import version
from pathlib import Path

import pytest

from tests.simulators.processes import installed_program, run_to_end

PROGRAMS = ("edge-agent", "cloud-hub", "model-pack")


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_is_printed(name: str, tmp_path: Path) -> None:
    """``--help`` prints the usage on stdout and exits 0."""
    finished = run_to_end([installed_program(name), "--help"], cwd=tmp_path)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert name in finished.stdout


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_version_is_the_distributions(name: str, tmp_path: Path) -> None:
    """``--version`` prints the program's name and the version of the distribution."""
    finished = run_to_end([installed_program(name), "--version"], cwd=tmp_path)
    assert (finished.returncode, finished.stdout.strip()) == (0, f"{name} {version('tandem-edge')}")


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_unknown_option_is_a_usage_error(name: str, tmp_path: Path) -> None:
    """A wrong command line exits 64 and says what is wrong on stderr."""
    finished = run_to_end([installed_program(name), "--no-such-option"], cwd=tmp_path)
    assert finished.returncode == 64
    assert finished.stderr
