"""Owns running the probe of a pack in a child process, and what its end means. What the child does is `probe.py`."""

import json
import logging
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

from edge_agent.config import EngineConfig
from edge_agent.core.pack_slots import FailureReason, PackId, PackRefusedError

_MODULE = "edge_agent.packs.probe"
_CORES = os.cpu_count() or 1
_DEATH_S = 5.0
_MAX_SHOWN = 300
_MEND = "run `model-pack verify` on the pack where it was built, and publish a mended version"

logger = logging.getLogger(__name__)


class Probe:
    """Probes packs of one store.

    Args:
        store: Its folder.
        engine: How models run on this device.
        timeout_s: After this the child is killed.
    """

    def __init__(self, store: Path, *, engine: EngineConfig, timeout_s: float) -> None:
        self._store = store
        self._engine = engine
        self._timeout_s = timeout_s

    def run(self, pack: PackId) -> None:
        """Load, warm up, answer the golden inputs; returns when the pack has shown that it can.

        Args:
            pack: Of the store, verified.

        Raises:
            PackRefusedError: It cannot; the reason says in which way.
            OSError: No process can be started.
        """
        child = subprocess.Popen(  # noqa: S603 - our own module, and arguments that are no shell's
            self._command(pack),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = child.communicate(timeout=self._timeout_s)
        except subprocess.TimeoutExpired:
            what = f"did not load and answer its golden inputs within {self._timeout_s:g} s"
            raise self._refused(FailureReason.PROBE_TIMEOUT, pack, what) from None
        finally:
            _end(child)
        self._judge(pack, child.returncode, out, err)

    def _command(self, pack: PackId) -> list[str]:
        threads = self._engine.threads or 1
        facts = {
            "--store": str(self._store.absolute()),
            "--ref": pack.pack,
            "--digest": pack.digest,
            "--threads": str(threads),
            "--providers": ",".join(self._engine.providers),
            "--device": str(self._engine.device),
            "--cpu-s": str(math.ceil(self._timeout_s * max(_CORES, threads)) + 1),
        }
        return [sys.executable, "-P", "-m", _MODULE, *(part for pair in facts.items() for part in pair)]

    def _judge(self, pack: PackId, status: int, out: bytes, err: bytes) -> None:
        try:
            found = json.loads(out) if status == 0 else None
        except ValueError:
            found = None
        if found is None:
            last = err.decode(errors="replace").strip().rpartition("\n")[2][:_MAX_SHOWN]
            ended = f"was killed by {_name(-status)}" if status < 0 else f"ended with status {status}: {last}"
            raise self._refused(FailureReason.PROBE_CRASHED, pack, f"crashed its probe: the process {ended}")
        if found["reason"] is not None:
            raise self._refused(FailureReason(found["reason"]), pack, f"failed its probe: {found['detail']}")
        logger.info("pack_probed", extra={"pack": pack.pack, "detail": found["detail"]})

    def _refused(self, reason: FailureReason, pack: PackId, what: str) -> PackRefusedError:
        return PackRefusedError(reason, pack.pack, f"pack {pack.pack} {what}", _MEND)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait(_DEATH_S)
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
