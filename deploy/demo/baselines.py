"""Owns "edge alone" and "hub alone": what each shipped pack answers when it sees every window by itself.

The driver runs the packs in its own process on the very windows that the watches send. How right they are is the
judge's business.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from deploy.demo.fleet import WindowKey
from deploy.demo.judge import Question
from deploy.demo.sensors import Track, window_keys
from model_packs.engines.opening import open_session
from model_packs.manifest import PackRef
from model_packs.pack import Pack
from model_packs.scoring import score
from model_packs.shipped.motion_band import split
from model_packs.store import PackStore

SHIPPED: Final = Path(split.__file__).parent / "packs"
EDGE_PACK: Final = PackRef("motion-band-edge", "1.0.0")
HUB_PACK: Final = PackRef("motion-band-hub", "1.0.0")


def layout(ref: PackRef) -> Path:
    """Where a shipped pack's OCI layout lies."""
    return SHIPPED / f"{ref.name}-{ref.version}"


def questions(watches: Sequence[Track], start_ns: int, scratch: Path) -> dict[WindowKey, Question]:
    """What is known about each window before anyone is asked.

    Args:
        watches: The tracks.
        start_ns: Their origin.
        scratch: Folder for a pack store of the driver's own.

    Returns:
        The truth and both baselines by window.

    Raises:
        ModelPackError: A shipped pack is damaged, or no engine can run it.
        OSError: A disk refuses.
    """
    plan = list(window_keys(watches, start_ns))
    fields = {recording.index: split.field_windows(recording) for _, recording, _ in plan}
    windows = np.stack([fields[recording.index][place] for _, recording, place in plan])
    store = PackStore(scratch)
    store.open()
    edge, hub = (alone(store.load(store.import_layout(layout(ref)), None), windows) for ref in (EDGE_PACK, HUB_PACK))
    return {
        key: Question(recording.exercise, recording.index, edge_label, hub_label)
        for (key, recording, _), edge_label, hub_label in zip(plan, edge, hub, strict=True)
    }


def alone(pack: Pack, windows: NDArray[np.float32]) -> list[str | None]:
    """A pack's answer to each window.

    Args:
        pack: The pack.
        windows: float32 [n, samples, channels].

    Returns:
        One label a window; None where it cannot be scored.
    """
    session = open_session(pack)
    try:
        name = pack.manifest.inputs[0].name
        return [
            None if scored.output is None else scored.output.label
            for batch in _batches(windows, pack.manifest.max_batch)
            for scored in score(pack.manifest, session.run({name: batch}))
        ]
    finally:
        session.close()


def _batches(windows: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    for first in range(0, len(windows), size):
        yield windows[first : first + size]
