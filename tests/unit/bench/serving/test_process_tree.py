"""What a program costs, with everything that it started."""

import subprocess
import sys
from pathlib import Path

from tests.bench.serving import process_tree
from tests.simulators.waiting import wait_until

_CHILD = """
import sys, time
until = time.process_time() + 0.3
while time.process_time() < until:
    pass
print(flush=True)
if not sys.stdin.readline():
    time.sleep(60)  # the parent is gone, and this lives on
"""
# A child in a session of its own that has worked and waits, as daemons start their workers.
_PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {_CHILD!r}],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(flush=True)
input()
child.communicate(b"\\n")
print(flush=True)
input()
"""


def test_a_tree_ends_as_a_whole() -> None:
    """A child that made itself a session of its own goes, too."""
    line = [sys.executable, "-c", _PARENT]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        _, child = process_tree.members(parent.pid)
        process_tree.kill(parent.pid)
        wait_until(lambda: not _is_alive(child), 30.0, "the child's end")


def _is_alive(pid: int) -> bool:
    """Whether it runs; one that nobody has waited for yet does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_children_count_alive_and_ended() -> None:
    """A child in another session belongs to the tree, and what it spent stays when it has ended."""
    line = [sys.executable, "-c", _PARENT]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdout.readline()
        assert len(process_tree.members(parent.pid)) == 2
        alive_s, alive_mib = process_tree.cpu_s(parent.pid), process_tree.pss_mib(parent.pid)
        parent.stdin.write(b"\n")
        parent.stdin.flush()
        parent.stdout.readline()
        assert len(process_tree.members(parent.pid)) == 1
        assert alive_s >= 0.3
        assert process_tree.cpu_s(parent.pid) >= alive_s
        assert process_tree.pss_mib(parent.pid) < alive_mib
        parent.stdin.write(b"\n")
