"""Owns MLServer's settings: one process (its worker processes do not start with a current uvloop), no logs of calls."""

import json
import os
import sys
from pathlib import Path

from tests.bench.serving.servers.arguments import Arguments


def main() -> None:
    """Write the settings beside the graph and become `mlserver start`."""
    arguments = Arguments.read()
    folder = arguments.graph.parent / "mlserver"
    folder.mkdir(exist_ok=True)
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "grpc_port": arguments.grpc_port,
        "http_port": arguments.http_port,
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "grpc_max_message_length": 64 << 20,
    }
    model = {
        "name": arguments.name,
        "implementation": "tests.bench.serving.servers.mlserver_runtime.OnnxModel",
        "parameters": {"extra": {"arguments": arguments.line()}},
        "max_batch_size": arguments.batch if arguments.batch > 1 else 0,
        "max_batch_time": 0.001 if arguments.batch > 1 else 0.0,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    program = str(Path(sys.executable).parent / "mlserver")
    os.execv(program, [program, "start", str(folder)])  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main()
