"""The hub's command line loads what it is asked for, and knows all that it could be asked for."""

import json
import subprocess
import sys

import pytest

COMMANDS = {"init", "serve", "people", "tokens", "devices", "packs", "costs", "recertify", "restored", "doctor"}

LOADED = """
import json, sys
from cloud_hub.cli import parser
parser(sys.argv[1:])
prefix = "cloud_hub.commands."
print(json.dumps([name.removeprefix(prefix) for name in sys.modules if name.startswith(prefix)]))
"""


def loaded(*arguments: str) -> set[str]:
    """The modules of commands that a process has loaded once it knows its arguments."""
    done = subprocess.run([sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_only_the_command_that_is_asked_for_is_loaded() -> None:
    """And what several commands share."""
    assert loaded("tokens", "list") & COMMANDS == {"tokens"}


@pytest.mark.parametrize("arguments", [[], ["--help"], ["tokenz"]])
def test_without_a_command_all_are_loaded(arguments: list[str]) -> None:
    """Help and mistakes name every command."""
    assert loaded(*arguments) >= COMMANDS
