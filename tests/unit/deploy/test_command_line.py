"""The demo's command line: what it refuses before it starts anything."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulators.processes import run_to_end

REPOSITORY = Path(__file__).parents[3]


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return run_to_end([sys.executable, "-m", "deploy.demo", *arguments], cwd=REPOSITORY)


@pytest.mark.parametrize("speed", ["0.5", "11", "nan", "fast"])
def test_a_speed_that_would_run_into_the_future_is_refused(speed: str) -> None:
    """Below real time, event time would pass the present; the usage says which speeds there are."""
    done = demo("--speed", speed)
    assert (done.returncode, done.stdout) == (64, "")
    assert "--speed" in done.stderr


def test_a_run_folder_that_exists_is_refused(run_folder: Path) -> None:
    """The state of an earlier run is never mixed with a new one; the mend is named."""
    done = demo("--run-dir", str(run_folder))
    assert (done.returncode, done.stdout) == (64, "")
    assert f"{run_folder} exists already" in done.stderr
    assert "mend:" in done.stderr


def test_a_run_folder_that_cannot_be_made_is_named(run_folder: Path) -> None:
    """A path below a file is no place for a folder."""
    blocked = run_folder / "file"
    blocked.write_text("")
    done = demo("--run-dir", str(blocked / "run"))
    assert (done.returncode, done.stdout) == (69, "")
    assert str(blocked / "run") in done.stderr
