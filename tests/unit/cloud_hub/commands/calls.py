"""Owns calling a command on a hub under test, and checking the document that it prints."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema

from cloud_hub.cli import execute
from cloud_hub.config import CONFIG_NAME


def on(hub: Path, *arguments: str) -> int:
    """Run a command on this hub."""
    return execute([*arguments, "--config", str(hub / CONFIG_NAME)])


def documented(text: str, name: str) -> Any:  # noqa: ANN401 - JSON
    """A printed document, after it was checked against its shipped schema."""
    document = json.loads(text)
    schema = json.loads((files("cloud_hub") / "schemas" / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    return document


def use_free_ports(hub: Path) -> None:
    """Let the ports be chosen at start."""
    (hub / CONFIG_NAME).write_text("[grpc]\nport = 0\nenrolment_port = 0\n[http]\nport = 0\n")


def without_database(hub: Path) -> None:
    """Take the database away."""
    for path in hub.glob("hub.db*"):
        path.unlink()
