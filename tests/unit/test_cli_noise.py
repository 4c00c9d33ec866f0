"""What gRPC's C core writes by itself: nothing beside the program's own errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

APPS = ("edge_agent", "cloud_hub")

TAKEN_PORT = """
import socket
from concurrent.futures import ThreadPoolExecutor
import {app}.cli
import grpc
with socket.create_server(("127.0.0.1", 0)) as taken:
    server = grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
    try:
        server.add_insecure_port("127.0.0.1:%d" % taken.getsockname()[1])
    except RuntimeError:
        print("refused")
"""


def told(app: str, **environ: str) -> tuple[str, str]:
    """Stdout and stderr of a program that the command line's module is loaded in, and whose port is taken."""
    clean = {key: value for key, value in os.environ.items() if key != "GRPC_VERBOSITY"}
    ended = subprocess.run(
        [sys.executable, "-c", TAKEN_PORT.format(app=app)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=clean | environ,
        timeout=60,
    )
    return ended.stdout, ended.stderr


@pytest.mark.parametrize("app", APPS)
def test_stderr_is_left_to_the_program(app: str) -> None:
    """An address that is in use is told by our error only."""
    assert told(app) == ("refused\n", "")


@pytest.mark.parametrize("app", APPS)
def test_who_looks_for_a_fault_can_have_the_lines(app: str) -> None:
    """A verbosity that is set already stays."""
    assert "Address already in use" in told(app, GRPC_VERBOSITY="ERROR")[1]
