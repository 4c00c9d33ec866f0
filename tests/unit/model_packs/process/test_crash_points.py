"""Shows that a program ends at the armed moment, at the time asked for, and nowhere else."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from model_packs.process.crash_points import CrashPoint, arm, crash_point

_PASSES = """
import sys
from model_packs.process.crash_points import CrashPoint, arm, crash_point
arm(sys.argv[1])
for passed in range(5):
    crash_point(CrashPoint.ANSWERED)
    crash_point(CrashPoint.AFTER_COMMIT)
    print(passed, flush=True)
"""


def lived(text: str) -> tuple[int, int]:
    """How often a process that is armed so passes both moments, and how it ends."""
    root = Path(__file__).parents[4]
    ended = subprocess.run([sys.executable, "-c", _PASSES, text], cwd=root, capture_output=True, text=True, check=False)
    return len(ended.stdout.splitlines()), ended.returncode


@pytest.mark.parametrize(
    ("text", "passes", "status"),
    [
        ("", 5, 0),
        ("after_commit", 0, -signal.SIGKILL),
        ("after_commit:3", 2, -signal.SIGKILL),
        ("hub_ack", 5, 0),
        ("answered:9", 5, 0),
    ],
)
def test_a_process_ends_where_it_is_armed(text: str, passes: int, status: int) -> None:
    """At the named moment, at its nth time, by SIGKILL; unarmed it passes."""
    assert lived(text) == (passes, status)


def test_a_moment_that_nobody_knows_is_refused() -> None:
    """A misspelt name would make a test that kills nothing."""
    with pytest.raises(ValueError, match="after_comit"):
        arm("after_comit")


def test_unarmed_nothing_happens() -> None:
    """This process lives on."""
    arm("")
    for point in CrashPoint:
        crash_point(point)


def test_a_simulated_program_ends_as_it_is_told() -> None:
    """Where a process holds both programs, the end of one is given along; disarmed, nothing happens."""
    ended: list[str] = []
    arm("hub_ack:2", lambda: ended.append("the agent"))
    for _ in range(2):
        crash_point(CrashPoint.HUB_ACK)
        crash_point(CrashPoint.VERDICT)
    arm("")
    crash_point(CrashPoint.HUB_ACK)
    assert ended == ["the agent"]
