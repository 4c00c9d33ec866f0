"""Owns the small file that says where a running agent is reached; `run` writes it, `status` reads it."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from model_packs.process.durable import write_file

FILE_NAME = "run.json"


@dataclass(frozen=True, slots=True)
class Running:
    """A running agent: its process, and where it serves metrics, health and status."""

    pid: int
    device: str
    http_host: str
    http_port: int

    def write(self, path: Path) -> None:
        """Write the file; its appearance says that the agent runs."""
        write_file(path, json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, path: Path) -> "Running | None":
        """What a running agent wrote; None when there is no such file, or its process is gone."""
        try:
            running = cls(**json.loads(path.read_bytes()))
            os.kill(running.pid, 0)
        except PermissionError:
            return running  # it runs as another user
        except (OSError, ValueError, TypeError):
            return None
        return running
