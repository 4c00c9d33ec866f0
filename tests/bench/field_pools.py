"""Owns what the monitoring benches draw from: the shipped packs' own answers to their field data, clean and disturbed.

A pool is a set of windows with what edge, hub and truth say of each. The disturbances of the camera are those of the
published sources of the demo's data: blur 0.8, gain 0.5, offset 0.2 of full scale, fixed before any figure was seen.
The left wrists are real data that the student was never shown.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from deploy.demo.baselines import layout
from deploy.demo.fleet import DIGITS_EDGE_PACK, DIGITS_HUB_PACK, EDGE_PACK, HUB_PACK
from model_packs.certificate.document import Certificate
from model_packs.engines.opening import open_session
from model_packs.manifest import PackRef
from model_packs.scoring import score
from model_packs.shipped.form_digits import crops
from model_packs.shipped.form_digits import dataset as digit_data
from model_packs.shipped.form_digits import split as digit_split
from model_packs.shipped.motion_band import dataset as motion_data
from model_packs.shipped.motion_band import split as motion_split
from model_packs.store import PackStore

CACHE: Final = Path(__file__).parents[2] / "build" / "data"
BLUR_PIXELS: Final = 0.8
GAIN: Final = 0.5
OFFSET: Final = 0.2
SLIGHT_GAIN: Final = 0.9
SLIGHT: Final = "slight gain"
_FULL_SCALE: Final = 255.0
MOTION_CHANNELS: Final = ("ax", "ay", "az", "gx", "gy", "gz")
_BATCH: Final = 32

_Labels = tuple[NDArray[np.intp], NDArray[np.float64]]
_Said = tuple[_Labels, _Labels]


@dataclass(frozen=True, slots=True)
class Pool:
    """Windows and what is said of them; all arrays [windows].

    Attributes:
        edge: int, the student's class.
        hub: int, the full model's.
        truth: int.
        confidence: float, the student's.
        hub_confidence: float, the full model's.
        inputs: The model's inputs [windows, …, channels], for the device's own detector.
        channels: Names; one where the inputs have no axis of channels.
    """

    name: str
    edge: NDArray[np.intp]
    hub: NDArray[np.intp]
    truth: NDArray[np.intp]
    confidence: NDArray[np.float64]
    hub_confidence: NDArray[np.float64]
    inputs: NDArray[Any]
    channels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.truth)


@dataclass(frozen=True, slots=True)
class Family:
    """A shipped student with its certificate, its clean field, and ways in which that parts from it."""

    name: str
    certificate: Certificate
    clean: Pool
    drifted: tuple[Pool, ...]


class Answers:
    """Runs shipped packs in this process."""

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="bench-packs-")
        self._store = PackStore(Path(self._scratch.name))

    def __enter__(self) -> Self:
        self._store.open()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._scratch.cleanup()

    def both(self, edge: PackRef, hub: PackRef, inputs: NDArray[Any]) -> _Said:
        """What student and full model say."""
        return self.of(edge, inputs), self.of(hub, inputs)

    def of(self, ref: PackRef, inputs: NDArray[Any]) -> _Labels:
        """Class and confidence for each input."""
        pack = self._store.load(self._store.import_layout(layout(ref)), None)
        session = open_session(pack)
        session.open()
        try:
            labels: list[int] = []
            confidences: list[float] = []
            for first in range(0, len(inputs), _BATCH):
                outputs = session.run({pack.manifest.inputs[0].name: inputs[first : first + _BATCH]})
                for scored in score(pack.manifest, outputs):
                    if scored.output is None:
                        raise AssertionError("a shipped pack could not score a shipped window")
                    labels.append(pack.manifest.labels.index(scored.output.told))
                    confidences.append(scored.confidence)
        finally:
            session.close()
        return np.array(labels), np.array(confidences)

    def certificate(self, ref: PackRef) -> Certificate:
        """What backs a pack's threshold."""
        pack = self._store.load(self._store.import_layout(layout(ref)), None)
        if pack.certificate is None:
            raise AssertionError(f"{ref} is shipped with a certificate")
        return pack.certificate


def motion_band(answers: Answers) -> Family:
    """Right wrists, which the student was made for, and left wrists, which join later."""
    recordings = motion_data.load(CACHE)
    pools: list[Pool] = []
    for wrist in (motion_data.Wrist.RIGHT, motion_data.Wrist.LEFT):
        chosen = [one for one in recordings if one.wrist is wrist]
        inputs = np.concatenate([motion_split.field_windows(one) for one in chosen])
        truth = np.concatenate(
            [np.full(len(motion_split.field_windows(one)), one.exercise_index, dtype=np.intp) for one in chosen]
        )
        pools.append(
            _pool(f"{wrist} wrist", partial(answers.both, EDGE_PACK, HUB_PACK), inputs, truth, MOTION_CHANNELS)
        )
    return Family("motion-band", answers.certificate(EDGE_PACK), pools[0], (pools[1],))


def form_digits(answers: Answers) -> Family:
    """Crops as they were trained on, and the same ones through a camera that changed."""
    digits = digit_data.load(CACHE)
    chosen = digit_split.indices(digit_split.Part.FIELD, digits.labels)
    images, truth = digits.images[chosen], digits.labels[chosen].astype(np.intp)

    def through(name: str, camera: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Pool:
        seen = camera(images.astype(np.float64) / _FULL_SCALE)
        inputs = crops.as_seen(np.clip(np.rint(seen * _FULL_SCALE), 0, _FULL_SCALE).astype(np.uint8))
        return _pool(name, partial(answers.both, DIGITS_EDGE_PACK, DIGITS_HUB_PACK), inputs, truth, ("grey",))

    clean = through("clean", lambda seen: seen)
    offset = through("offset", lambda seen: seen + OFFSET)
    return Family(
        "form-digits",
        answers.certificate(DIGITS_EDGE_PACK),
        clean,
        (
            through(SLIGHT, lambda seen: seen * SLIGHT_GAIN),
            through("blur", lambda seen: blurred(seen, BLUR_PIXELS)),
            through("gain", lambda seen: seen * GAIN),
            offset,
            prepared(offset, clean),
        ),
    )


def prepared(drifted: Pool, clean: Pool) -> Pool:
    """The same drift before a hub that takes it out again: its answers are those to the undisturbed windows."""
    return replace(drifted, name=f"{drifted.name}, prepared hub", hub=clean.hub, hub_confidence=clean.hub_confidence)


def blurred(images: NDArray[np.float64], sigma_pixels: float) -> NDArray[np.float64]:
    """Blur images by a Gaussian of so many pixels; dark beyond the edges.

    Args:
        images: float64 [n, height, width], 0..1.
        sigma_pixels: Of the Gaussian.

    Returns:
        float64 [n, height, width], a new array.
    """
    reach = max(1, round(3 * sigma_pixels))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_pixels) ** 2)
    kernel /= kernel.sum()
    for axis in (1, 2):
        pad = [(0, 0), (0, 0), (0, 0)]
        pad[axis] = (reach, reach)
        padded = np.pad(images, pad)
        size = images.shape[axis]
        images = sum(
            weight * np.take(padded, np.arange(shift, shift + size), axis=axis) for shift, weight in enumerate(kernel)
        )
    return images


def _pool(
    name: str,
    both: Callable[[NDArray[Any]], _Said],
    inputs: NDArray[Any],
    truth: NDArray[np.intp],
    channels: tuple[str, ...],
) -> Pool:
    (edge, confidence), (hub, hub_confidence) = both(inputs)
    return Pool(name, edge, hub, truth, confidence, hub_confidence, inputs, channels)
