"""The choices for gRPC's core: made before it is imported, and known to the core that is installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SERVES = """
import json, os, sys
import {cli}
import grpc
from concurrent.futures import ThreadPoolExecutor
server = grpc.server(ThreadPoolExecutor(1))
assert server.add_insecure_port("127.0.0.1:0")
server.stop(None)
print(json.dumps([os.environ["GRPC_EXPERIMENTS"], os.environ["GRPC_POLL_STRATEGY"]]))
"""


def ended(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of Python with an environment in which nobody has chosen."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")} | environment
    line = [sys.executable, "-c", program]
    return subprocess.run(line, check=True, capture_output=True, text=True, cwd=ROOT, timeout=60, env=own)


@pytest.mark.parametrize("cli", ["edge_agent.cli", "cloud_hub.cli"])
def test_the_installed_core_knows_what_is_chosen(cli: str) -> None:
    """A name that it did not know would be a line on stderr at every start."""
    done = ended(SERVES.format(cli=cli))
    assert json.loads(done.stdout) == ["-event_engine_listener", "poll"]
    assert not done.stderr


def test_an_operators_choice_stays() -> None:
    """Who sets the variables knows why."""
    chosen = {"GRPC_EXPERIMENTS": "-tcp_frame_size_tuning", "GRPC_POLL_STRATEGY": "epoll1"}
    done = ended(SERVES.format(cli="edge_agent.cli"), **chosen)
    assert json.loads(done.stdout) == list(chosen.values())


@pytest.mark.parametrize("cli", ["edge_agent.cli", "cloud_hub.cli"])
def test_the_choice_is_made_before_grpc_is_imported(cli: str) -> None:
    """The core reads it once."""
    watched = f"""
import builtins, os
real = builtins.__import__
def watching(name, *rest):
    if name == "grpc" or name.startswith("grpc."):
        assert {{"GRPC_EXPERIMENTS", "GRPC_POLL_STRATEGY"}} <= os.environ.keys()
    return real(name, *rest)
builtins.__import__ = watching
import {cli}
{cli}.parser()
"""
    ended(watched)
