"""Owns the small file that says where a running agent is reached; `run` writes it, `status` reads it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from model_packs.process.durable import write_file

FILE_NAME = "run.json"


@dataclass(frozen=True, slots=True)
class Running:
    """A running agent: its process, and where it serves metrics, health and status, and local calls over gRPC.

    Without local calls the last two are None.
    """

    pid: int
    device: str
    http_host: str
    http_port: int
    oip_host: str | None = None
    oip_port: int | None = None

    def write(self, path: Path) -> None:
        """Write the file; its appearance says that the agent runs."""
        write_file(path, json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, path: Path) -> "Running | None":
        """What an agent wrote; None when nothing readable is there. A killed agent leaves its file behind."""
        try:
            return cls(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
