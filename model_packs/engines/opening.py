"""Owns choosing and opening the session for a pack: the explicit table from engine name to opener.

To add an engine: write one adapter of `session.Session` that imports its library in `open`, add it to `_OPENERS`, and
add it to the list in tests/contract/test_session_contract.py.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from model_packs.engines import onnxruntime_session
from model_packs.engines.session import Session
from model_packs.errors import EngineError, MissingEngineError
from model_packs.manifest import PackManifest, Variant
from model_packs.pack import Pack

Opener = Callable[[PackManifest, Variant, Path, int], Session]

_OPENERS: Final[dict[str, Opener]] = {
    onnxruntime_session.ENGINE: onnxruntime_session.open_onnxruntime,
}


def open_session(pack: Pack, *, threads: int = 1) -> Session:
    """Open and warm up the best variant that this machine has an engine for.

    Args:
        pack: A loaded pack.
        threads: Threads inside one run.

    Returns:
        The open, warm session; the caller closes it.

    Raises:
        EngineError: No engine for any variant is installed (names the extra), or the best one fails to load the graph.
    """
    missing: MissingEngineError | None = None
    for variant in pack.manifest.variants:  # sorted by rank
        opener = _OPENERS.get(variant.engine)
        if opener is None:
            continue
        try:
            session = opener(pack.manifest, variant, pack.path(variant.file), threads)
        except MissingEngineError as error:
            missing = missing or error
            continue
        try:
            session.warm_up()
        except EngineError:
            session.close()
            raise
        return session
    if missing is not None:
        raise missing
    wanted = ", ".join(sorted({variant.engine for variant in pack.manifest.variants}))
    raise MissingEngineError(
        f"{pack.ref} runs on {wanted}; this program knows {', '.join(_OPENERS)}",
        "install a newer version, or use a pack with a variant for a known engine",
    )
