"""Owns the probe: `python -m edge_agent.packs.probe` loads one pack, warms it up and runs its golden inputs.

It is a process of its own, so that a model that hangs, crashes or eats the memory takes nobody with it. It bounds
itself and prints one JSON line `{"reason": null | name, "detail": text}`; a process that ends without it has crashed.
Who starts it, how long it may take and what becomes of the pack is `probing.py`.
"""

import argparse
import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path

from edge_agent.core.pack_slots import FailureReason, reason_of
from model_packs.engines.opening import open_session
from model_packs.engines.options import EngineOptions
from model_packs.errors import EngineError, PackError
from model_packs.manifest import PackRef
from model_packs.store import PackStore
from model_packs.verification import check_golden

_PR_SET_PDEATHSIG = 1  # prctl(2)
_NICENESS = 10
_OPEN_FILES = 256
_LEAST_ADDRESS_BYTES = 4 << 30  # libraries and thread stacks reserve far more addresses than they use
_OOM_SCORE = Path("/proc/self/oom_score_adj")
_FIRST_TO_GO = "1000"


def main() -> None:
    """Probe the pack that the arguments name, and say how it went."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--ref", required=True)
    parser.add_argument("--digest", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--providers", required=True)
    parser.add_argument("--device", type=int, required=True)
    parser.add_argument("--cpu-s", type=int, required=True)
    args = parser.parse_args()
    _bound(args.cpu_s)
    options = EngineOptions(threads=args.threads, providers=tuple(args.providers.split(",")), device=args.device)
    reason, detail = _probed(args.store, PackRef.parse(args.ref), args.digest, options)
    sys.stdout.write(json.dumps({"reason": None if reason is None else reason.value, "detail": detail}) + "\n")


def _bound(cpu_s: int) -> None:
    """Die with the agent, never write, never dump a core, use no more memory than there is, give way to inference."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    memory_bytes = max(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), _LEAST_ADDRESS_BYTES)
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_bytes),
    ):
        hard = resource.getrlimit(limit)[1]
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (least, least))
    with contextlib.suppress(OSError):  # a container may forbid both; the timeout still holds
        _OOM_SCORE.write_text(_FIRST_TO_GO)
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)


def _probed(store: Path, ref: PackRef, digest: str, options: EngineOptions) -> tuple[FailureReason | None, str]:
    try:
        pack = PackStore(store).load(ref, None)  # the agent has checked the signature of exactly this digest
        if pack.digest != digest:
            return FailureReason.WRONG_PACK, f"{ref} is {pack.digest} here"
        open_session(pack, options).close()
        golden = check_golden(pack, options)
    except PackError as error:
        return reason_of(error), str(error)
    except EngineError as error:
        return FailureReason.UNSUPPORTED, error.reason
    return (FailureReason.GOLDEN_MISMATCH if golden.is_ok is False else None), golden.detail


if __name__ == "__main__":
    main()
