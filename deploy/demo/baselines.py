"""Owns "edge alone" and "hub alone": what each shipped pack answers when it sees every input by itself.

The driver runs the packs in its own process on the very inputs that are sent. How right they are is the judge's
business.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deploy.demo.fleet import DIGITS_EDGE_PACK, DIGITS_HUB_PACK, EDGE_PACK, HUB_PACK, NEXT_EDGE_PACK
from deploy.demo.forms import Digit
from deploy.demo.questions import BOXES, Question, wrist_group
from deploy.demo.watches import Questions
from model_packs.engines.opening import open_session
from model_packs.manifest import PackRef
from model_packs.pack import Pack
from model_packs.scoring import score
from model_packs.shipped.form_digits import crops
from model_packs.shipped.form_digits import dataset as digit_data
from model_packs.shipped.form_digits import split as digit_split
from model_packs.shipped.motion_band import split
from model_packs.shipped.motion_band.dataset import Recording
from model_packs.store import PackStore

_SHIPPED: Final = Path(split.__file__).parents[1]


def layout(ref: PackRef) -> Path:
    """Where a shipped pack's OCI layout lies."""
    family = ref.name.rpartition("-")[0].replace("-", "_")
    return _SHIPPED / family / "packs" / f"{ref.name}-{ref.version}"


class Bench:
    """Runs shipped packs in this process.

    Args:
        scratch: Folder for a pack store of the driver's own; made.
    """

    def __init__(self, scratch: Path) -> None:
        self._store = PackStore(scratch)

    def open(self) -> None:
        """Make the store.

        Raises:
            OSError: A disk refuses.
        """
        self._store.open()

    def alone(self, ref: PackRef, inputs: NDArray[Any]) -> list[str | None]:
        """What a pack answers to each input.

        Args:
            ref: A shipped pack.
            inputs: As its first input takes them, [n, …]: float32 windows or uint8 images.

        Returns:
            One label an input; None where it cannot be scored.

        Raises:
            ModelPackError: The pack is damaged, or no engine can run it.
            OSError: A disk refuses.
        """
        return _answers(self._store.load(self._store.import_layout(layout(ref)), None), inputs)


def wrist_questions(recordings: Sequence[Recording], bench: Bench) -> Questions:
    """What is known about each window of the field part before anyone is asked.

    Args:
        recordings: All recordings.
        bench: Runs the packs.

    Returns:
        The truth and the baselines by recording and place.
    """
    plan = [(recording, split.field_windows(recording)) for recording in recordings]
    keys = [(recording, place) for recording, windows in plan for place in range(len(windows))]
    inputs = np.concatenate([windows for _, windows in plan if len(windows)])
    edges = {str(ref): bench.alone(ref, inputs) for ref in (EDGE_PACK, NEXT_EDGE_PACK)}
    hub = bench.alone(HUB_PACK, inputs)
    return {
        (recording.index, place): Question(
            truth=recording.exercise,
            group=wrist_group(recording.wrist),
            cluster=recording.index,
            edge_labels={pack: labels[number] for pack, labels in edges.items()},
            hub_label=hub[number],
        )
        for number, (recording, place) in enumerate(keys)
    }


def field_digits(digits: digit_data.Digits, bench: Bench) -> list[Digit]:
    """What is known about each digit of the field part before anyone is asked.

    Args:
        digits: All digits.
        bench: Runs the packs, on the pixels that come out of the JPEG.

    Returns:
        In the field part's order, which is a fair sample at any length.
    """
    chosen = digit_split.indices(digit_split.Part.FIELD, digits.labels)
    images = digits.images[chosen]
    seen = crops.as_seen(images)
    edge, hub = (bench.alone(ref, seen) for ref in (DIGITS_EDGE_PACK, DIGITS_HUB_PACK))
    return [
        Digit(
            images[place],
            Question(
                truth=digit_data.LABELS[digits.labels[index]],
                group=BOXES,
                cluster=int(index),
                edge_labels={str(DIGITS_EDGE_PACK): edge[place]},
                hub_label=hub[place],
            ),
        )
        for place, index in enumerate(chosen.tolist())
    ]


def _answers(pack: Pack, inputs: NDArray[Any]) -> list[str | None]:
    session = open_session(pack)
    try:
        name = pack.manifest.inputs[0].name
        return [
            None if scored.output is None else scored.output.told
            for batch in _batches(inputs, pack.manifest.max_batch)
            for scored in score(pack.manifest, session.run({name: batch}))
        ]
    finally:
        session.close()


def _batches(inputs: NDArray[Any], size: int) -> Iterator[NDArray[Any]]:
    for first in range(0, len(inputs), size):
        yield inputs[first : first + size]
