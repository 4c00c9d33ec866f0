"""What the daemon loads before it has read its config: memory and seconds of every start, kept small by name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LOADED = """
import json, sys
from edge_agent.cli import parser
parser(sys.argv[1:])
print(json.dumps(sorted(sys.modules)))
"""


def loaded(*arguments: str) -> set[str]:
    """The modules that are loaded once the command line is understood."""
    ended = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments], check=True, capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    return set(json.loads(ended.stdout))


@pytest.fixture(scope="module")
def daemon() -> set[str]:
    """What `edge-agent run` loads."""
    return loaded("run")


@pytest.mark.parametrize(
    "heavy",
    [
        "onnxruntime",  # loaded when a session opens
        "model_packs.engines.onnxruntime_session",
        "model_packs.engines.tensorrt_session",
        "PIL",
        "numpy.random",  # 3 MB for an annotation
        "edge_agent.examination",  # the doctor's
        "edge_agent.commands.doctor",
        "edge_agent.adapters.grpc.enrolment",
        "edge_agent.hub_side",  # loaded where there is a hub
        "edge_agent.adapters.grpc.escalation_link",
        "edge_agent.packs.installer",
        "edge_agent.adapters.mqtt.broker",  # loaded where there is a broker
        "paho",
        "cryptography.x509",  # loaded where there is an identity
        "model_packs.build",
        "model_packs.report",
    ],
)
def test_the_daemon_does_not_load_what_it_does_not_use(daemon: set[str], heavy: str) -> None:
    """Engines wait for a session, other commands' libraries for their commands."""
    assert heavy not in daemon


def test_only_the_command_that_is_asked_for_is_loaded(daemon: set[str]) -> None:
    """And its parser is there."""
    commands = {name for name in daemon if name.startswith("edge_agent.commands.")}
    assert commands == {f"edge_agent.commands.{name}" for name in ("arguments", "endings", "run")}


def test_without_a_command_all_are_loaded() -> None:
    """Help and mistakes name every command."""
    assert {"edge_agent.commands.doctor", "edge_agent.commands.run"} <= loaded()
    assert "edge_agent.commands.doctor" in loaded("runn")
