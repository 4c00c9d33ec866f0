"""Owns BentoML's command line: the service takes its arguments from the environment, as its worker imports it anew."""

import os
import sys
from pathlib import Path

from tests.bench.serving.servers.arguments import Arguments

ARGUMENTS_VARIABLE = "BENCH_SERVER_ARGUMENTS"
SERVICE = "tests.bench.serving.servers.bentoml_service:OnnxService"


def main() -> None:
    """Become `bentoml serve`."""
    arguments = Arguments.read()
    home = arguments.graph.parent / "bentoml"
    home.mkdir(exist_ok=True)
    environ = {
        **os.environ,
        ARGUMENTS_VARIABLE: "\n".join(arguments.line()),
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_CONFIG_OPTIONS": "monitoring.enabled=false",
    }
    program = str(Path(sys.executable).parent / "bentoml")
    line = [program, "serve", SERVICE, "--host", "127.0.0.1", "--port", str(arguments.http_port), "--quiet"]
    os.execve(program, line, environ)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main()
