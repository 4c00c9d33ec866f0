"""Owns how a stored tensor becomes a drawing: curves of a signal, grouped as people read them, or pixels with boxes.

It returns geometry and numbers; the page sets them as SVG and text, `adapters` encode pixels as a picture.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloud_hub.core.png import is_picture
from model_packs.manifest import PackManifest
from model_packs.outputs import Detection
from model_packs.tensors import Tensor
from protos.messages.inference import Tier

WIDTH, HEIGHT = 640, 120
_MARGIN = 8
_MAX_CURVES = 3
_MAX_STRIPS = 6
_MAX_POINTS = 500
_AXIS = re.compile(r"(?P<stem>.*?)[ _.-]?(?P<axis>[xyzXYZ]|\d+)")
_SIGNAL_AXES = 3


@dataclass(frozen=True, slots=True)
class Curve:
    """One channel; `path` is SVG path data inside `WIDTH` x `HEIGHT`, empty where nothing is finite."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Strip:
    """Channels that share an axis; `low` and `high` are its ends in the signal's own unit, None: nothing is finite."""

    curves: tuple[Curve, ...]
    low: float | None
    high: float | None

    @property
    def zero_y(self) -> float | None:
        """Where the line of zero runs; None outside of the strip."""
        if self.low is None or self.high is None or not self.low < 0 < self.high:
            return None
        return _y(0.0, self.low, self.high)


@dataclass(frozen=True, slots=True)
class Signal:
    """A window of samples, drawn.

    Attributes:
        span_s: Length of the window; None when the rate is not known.
        hidden: Channels that are not drawn, there are too many.
    """

    strips: tuple[Strip, ...]
    samples: int
    span_s: float | None
    hidden: int


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An image; `pixels` is UINT8 [height, width] (grey) or [height, width, 3] (RGB), owned by the tensor."""

    pixels: NDArray[np.uint8]

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])


@dataclass(frozen=True, slots=True)
class Outline:
    """A box over a picture, in its pixels and cut off at its edges; `tier` found it, `label` says what it is."""

    tier: Tier
    label: str
    score: float
    x: float
    y: float
    width: float
    height: float


def outlines(picture: Picture, answers: Mapping[Tier, Detection]) -> tuple[Outline, ...]:
    """Lay boxes over the picture in which they were found.

    Args:
        picture: What was judged.
        answers: What each tier found.

    Returns:
        Every box that lies in the picture at all, those of the lowest tier first.
    """
    sizes = picture.width, picture.height
    found: list[Outline] = []
    for tier, answer in sorted(answers.items(), key=lambda item: item[0].rank):
        scale = sizes if answer.units == "share" else (1, 1)
        for box in answer.boxes:
            x0, x1 = (min(max(edge * scale[0], 0.0), sizes[0]) for edge in (box.x0, box.x1))
            y0, y1 = (min(max(edge * scale[1], 0.0), sizes[1]) for edge in (box.y0, box.y1))
            if x0 < x1 and y0 < y1:
                found.append(Outline(tier, box.label, box.score, x0, y0, x1 - x0, y1 - y0))
    return tuple(found)


def draw(inputs: Sequence[Tensor], manifest: PackManifest | None) -> Signal | Picture | None:
    """Draw the first input of a case.

    Args:
        inputs: As stored, batch axis included (1, ...).
        manifest: Of the pack that takes it; None when it is not published here: channels have numbers then.

    Returns:
        The drawing; None when there is nothing that can be drawn.
    """
    if not inputs or 0 in inputs[0].shape:
        return None
    array = inputs[0].to_array()
    window = None if manifest is None else manifest.window
    if window is None and is_picture(inputs[0].shape, inputs[0].datatype):
        return Picture(array[0])
    if array.ndim != _SIGNAL_AXES or array.dtype.kind not in "fiu":
        return None
    samples, channels = array.shape[1:]
    names = () if window is None or window.channels != channels else window.channel_names
    return _signal(array[0].astype(np.float64), names, None if window is None else samples / window.rate_hz)


def grouped(names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Group channels that belong together: those whose names differ in an axis or a number only, at most 3 at a time.

    Args:
        names: In the order of the channels.

    Returns:
        Indices by group, in order.
    """
    groups: list[tuple[str, list[int]]] = []
    for index, name in enumerate(names):
        match = _AXIS.fullmatch(name)
        stem = name if match is None else match["stem"]
        if groups and groups[-1][0] == stem and len(groups[-1][1]) < _MAX_CURVES:
            groups[-1][1].append(index)
        else:
            groups.append((stem, [index]))
    return tuple(tuple(indices) for _, indices in groups)


def _signal(values: NDArray[np.float64], names: Sequence[str], span_s: float | None) -> Signal:
    told = tuple(names) or tuple(f"channel {number + 1}" for number in range(values.shape[1]))
    groups = grouped(told)
    shown = groups[:_MAX_STRIPS]
    return Signal(
        strips=tuple(_strip(values[:, list(indices)], [told[index] for index in indices]) for indices in shown),
        samples=values.shape[0],
        span_s=span_s,
        hidden=sum(len(indices) for indices in groups[_MAX_STRIPS:]),
    )


def _strip(values: NDArray[np.float64], names: Sequence[str]) -> Strip:
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return Strip(tuple(Curve(name, "") for name in names), None, None)
    low, high = float(finite.min()), float(finite.max())
    curves = tuple(Curve(name, _path(values[:, index], low, high)) for index, name in enumerate(names))
    return Strip(curves, low, high)


def _path(values: NDArray[np.float64], low: float, high: float) -> str:
    step = max(1, -(-len(values) // _MAX_POINTS))
    last = max(len(values) - 1, 1)
    parts: list[str] = []
    pen = "M"
    for index in _extremes(values, step):
        value = float(values[index])
        if not np.isfinite(value):
            pen = "M"
            continue
        parts.append(f"{pen}{index * WIDTH / last:.1f} {_y(value, low, high):.1f}")
        pen = "L"
    return "".join(parts)


def _extremes(values: NDArray[np.float64], step: int) -> list[int]:
    """Indices to draw: all, or of each stretch the lowest and the highest, so that no peak is lost."""
    if step == 1:
        return list(range(len(values)))
    found: list[int] = []
    for start in range(0, len(values), step):
        stretch = values[start : start + step]
        lowest, highest = int(np.argmin(stretch)), int(np.argmax(stretch))
        found.extend(start + index for index in sorted({lowest, highest}))
    return found


def _y(value: float, low: float, high: float) -> float:
    if high == low:
        return HEIGHT / 2
    return HEIGHT - _MARGIN - (value - low) / (high - low) * (HEIGHT - 2 * _MARGIN)
