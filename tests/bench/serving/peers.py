"""Owns the peers: what is installed, how each is started, how it is spoken to.

Each runs in the mode that is best for it (`note`), with the same ONNX Runtime, the same file and the same threads.
Those that speak the Open Inference Protocol get OIP gRPC with raw contents, as Triton's client sends it; the others
get the JSON that they take.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from model_packs.process.progress import progress
from tests.bench.serving.environments import COMPILED, DEBIAN_PYTHON, Environment, InstallError
from tests.bench.serving.models import INPUT, OUTPUT, BenchModel
from tests.bench.serving.servers.arguments import Arguments
from tests.bench.serving.target import Launch, Target, say
from tests.bench.serving.wire import Wire, question
from tests.simulators.network import free_port
from tests.simulators.processes import Process

REPOSITORY: Final = Path(__file__).parents[3]
SERVERS: Final = Path(__file__).parent / "servers"


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer.

    Attributes:
        environment: Where it is installed; None for our own environment.
        server: File of `servers/`.
        path: Of the HTTP request.
        note: What a reader must know.
    """

    name: str
    environment: Environment | None
    server: str
    speaks_oip: bool = True
    path: str = ""
    note: str = ""


BARE: Final = Peer("bare grpc.server", None, "bare_grpc.py", note="4 + 16 threads, no checks, no decision")
KSERVE: Final = Peer(
    "kserve 0.21.0", Environment("kserve", ("kserve==0.21.0",)), "kserve_server.py", note="log of calls off"
)
MLSERVER: Final = Peer(
    "mlserver 1.7.1",
    Environment("mlserver", ("mlserver==1.7.1",)),
    "mlserver_start.py",
    note="parallel_workers = 0: its worker processes do not start with the current uvloop",
)
PYTRITON: Final = Peer(
    "pytriton 0.7.0",
    Environment("pytriton", ("nvidia-pytriton==0.7.0", "numpy<2"), DEBIAN_PYTHON),
    "pytriton_server.py",
    note="Triton 2.51 with a Python function",
)
LITSERVE: Final = Peer(
    "litserve 0.2.19",
    Environment("litserve", ("litserve==0.2.19",)),
    "litserve_server.py",
    speaks_oip=False,
    path="/predict",
    note="JSON",
)
BENTOML: Final = Peer(
    "bentoml 1.4.39",
    Environment("bentoml", ("bentoml==1.4.39",)),
    "bentoml_start.py",
    speaks_oip=False,
    path="/predict",
    note="JSON",
)
PEERS: Final = (KSERVE, MLSERVER, PYTRITON, LITSERVE, BENTOML)


def install(peers: Iterable[Peer]) -> dict[str, str]:
    """Make the environments that are not there yet; why not, by peer, for those that could not be made."""
    wanted = [(peer, peer.environment) for peer in peers if peer.environment and not peer.environment.is_made]
    failed: dict[str, str] = {}
    for peer, environment in progress(wanted, "peers installed"):
        say(f"installing {peer.name} (some 400 MB, once)")
        try:
            environment.make()
        except InstallError as exc:
            failed[peer.name] = str(exc)
            say(f"{peer.name}: not run: {exc}")
    return failed


def target(peer: Peer, bench: BenchModel, *, threads: int, batch: int = 1, why_not: str | None = None) -> Target:
    """A peer as a target.

    Args:
        peer: Which.
        bench: What it serves.
        threads: Of one run.
        batch: Most requests in one run; 1: it forms no batches.
        why_not: It could not be installed.
    """
    prepare = partial(_prepare, peer, bench, threads, batch)
    how = f"batches of up to {batch} within 1 ms" if batch > 1 else ""
    return Target(peer.name, bench, prepare, ", ".join(filter(None, (peer.note, how))), why_not)


def _prepare(peer: Peer, bench: BenchModel, threads: int, batch: int, folder: Path) -> Launch:
    graph = bench.write(folder)
    arguments = Arguments(graph, bench.name, INPUT, OUTPUT, free_port(), free_port(), threads, batch)
    python = peer.environment.python if peer.environment else Path(sys.executable)
    line = [str(python), "-P", str(SERVERS / peer.server), *arguments.line()]
    process = Process(
        line, log_path=folder / "server.log", cwd=folder, environ=COMPILED | {"PYTHONPATH": str(REPOSITORY)}
    )
    if peer.speaks_oip:
        return Launch(process, Wire.GRPC, arguments.grpc_port, question(Wire.GRPC, bench, ""))
    wire = Wire.NUMBERS if len(bench.shape) == 1 else Wire.BASE64
    return Launch(process, wire, arguments.http_port, question(wire, bench, peer.path))
