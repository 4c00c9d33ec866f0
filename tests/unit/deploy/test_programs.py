"""The demo's processes: starting, failing with the log in hand, ending, and leaving nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.demo.programs import Program, ProgramError, run, run_json
from tests.simulators.waiting import wait_until

PYTHON = sys.executable


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def sleeper(folder: Path) -> Program:
    """A program that says `ready` and waits to be ended."""
    code = "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); print('ready', flush=True); signal.pause()"
    return Program("sleeper", [PYTHON, "-c", code], folder / "sleeper.log")


def test_a_program_that_ends_early_is_reported_with_its_last_lines(run_folder: Path) -> None:
    """The error names the program, what was waited for, its last log lines and the log's path."""
    log = run_folder / "bad.log"
    program = Program("bad", [PYTHON, "-c", "raise SystemExit('cannot open the frobnicator')"], log)
    program.start()
    with pytest.raises(ProgramError, match="bad ended before it was ready") as caught:
        program.wait_until(lambda: False, "it was ready", 20)
    assert "cannot open the frobnicator" in str(caught.value)
    assert str(log) in str(caught.value)


def test_a_wait_ends_at_its_deadline(run_folder: Path) -> None:
    """A program that runs but never gets ready is reported by what was missing."""
    program = sleeper(run_folder)
    program.start()
    try:
        with pytest.raises(ProgramError, match="not within 0 s: a miracle"):
            program.wait_until(lambda: False, "a miracle", 0)
    finally:
        program.kill()


def test_stop_is_gentle_and_may_be_called_twice(run_folder: Path) -> None:
    """SIGTERM lets it end with 0; a second stop finds it ended; one that was never started is stopped already."""
    program = sleeper(run_folder)
    assert program.stop()
    program.start()
    program.wait_until(lambda: "ready" in program.log_path.read_text(), "ready", 20)
    assert program.stop()
    assert program.stop()
    assert not program.is_running


def test_a_program_that_was_killed_has_not_failed_to_stop(run_folder: Path) -> None:
    """The story kills programs; an interruption meanwhile finds one that is gone, whatever its exit code."""
    program = sleeper(run_folder)
    program.start()
    program.wait_until(lambda: "ready" in program.log_path.read_text(), "ready", 20)
    program.kill()
    assert program.stop()


def test_a_killed_program_starts_again_with_the_same_log(run_folder: Path) -> None:
    """The second run appends to the log of the first."""
    program = sleeper(run_folder)
    program.start()
    program.wait_until(lambda: program.log_path.read_text() == "ready\n", "ready", 20)
    program.kill()
    program.start()
    program.wait_until(lambda: program.log_path.read_text() == "ready\nready\n", "ready again", 20)
    program.kill()
    assert not program.is_running


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG, which only Linux has")
def test_a_program_ends_with_the_demo_even_if_that_is_killed(run_folder: Path) -> None:
    """SIGKILL of the parent leaves no child behind."""
    code = (
        "import sys; from pathlib import Path; from deploy.demo.programs import Program\n"
        "program = Program('child', [sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(600)'], "
        f"Path({str(run_folder / 'child.log')!r}))\n"
        "program.start()\n"
        "program.wait_until(lambda: program.log_path.read_text(), 'a line', 20)\n"
        "print(program.pid, flush=True)\n"
        "import time; time.sleep(600)"
    )
    root = Path(__file__).parents[3]
    with subprocess.Popen([PYTHON, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(child), 20, "the child has ended")


def test_a_failed_command_is_reported_with_its_stderr(run_folder: Path) -> None:
    """One-shot commands that fail name themselves and show what they said."""
    log = run_folder / "command.log"
    with pytest.raises(ProgramError, match="ended with status 3") as caught:
        run([PYTHON, "-c", "import sys; sys.stderr.write('no such town\\n'); sys.exit(3)"], log)
    assert "no such town" in str(caught.value)


def test_a_command_gives_its_stdout_and_its_json(run_folder: Path) -> None:
    """What a command prints is returned; JSON objects are parsed, and an accepted status is no failure."""
    log = run_folder / "command.log"
    assert run([PYTHON, "-c", "print('a token')"], log) == "a token\n"
    assert run_json([PYTHON, "-c", "print('{\"ok\": false}'); raise SystemExit(1)"], log, accepted=(0, 1)) == {
        "ok": False
    }


@pytest.mark.parametrize("printed", ["nothing of the kind", "[1]"])
def test_a_command_without_a_json_object_is_reported(run_folder: Path, printed: str) -> None:
    """What was printed instead is in the message."""
    with pytest.raises(ProgramError, match="printed no JSON"):
        run_json([PYTHON, "-c", f"print({printed!r})"], run_folder / "command.log")
