"""Owns the command line that all servers of a bench share.

They take GRAPH NAME INPUT OUTPUT GRPC_PORT HTTP_PORT THREADS BATCH.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Arguments:
    """What to serve, and where.

    Attributes:
        graph: The ONNX file.
        name: Name of the model.
        threads: Threads of one run.
        batch: Most requests in one run; 1 for none that forms batches.
    """

    graph: Path
    name: str
    input: str
    output: str
    grpc_port: int
    http_port: int
    threads: int
    batch: int

    @classmethod
    def read(cls, argv: list[str] | None = None) -> Self:
        """From the command line."""
        graph, name, input_, output, *numbers = sys.argv[1:] if argv is None else argv
        return cls(Path(graph), name, input_, output, *map(int, numbers))

    def line(self) -> list[str]:
        """The command line that `read` reads."""
        numbers = (self.grpc_port, self.http_port, self.threads, self.batch)
        return [str(self.graph), self.name, self.input, self.output, *map(str, numbers)]
