"""Tensors become curves in their groups, or pixels; what cannot be drawn is not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cloud_hub.core.console.drawing import HEIGHT, WIDTH, Outline, Picture, Signal, draw, grouped, outlines
from model_packs.boxes import Box
from model_packs.manifest import PackManifest, PackRef, WindowSpec
from model_packs.outputs import Detection
from model_packs.tensors import Tensor, TensorSpec
from protos.messages.inference import Tier

MANIFEST = PackManifest(
    ref=PackRef("band", "1.0.0"),
    family="band",
    role="edge",
    task="classification",
    labels=("a", "b"),
    inputs=(TensorSpec("window", "FP32", (-1, 4, 2)),),
    outputs=(TensorSpec("logits", "FP32", (-1, 2)),),
    window=WindowSpec(4, 2, 50.0, ("ax", "ay")),
    max_batch=1,
    escalates_to=None,
    temperature=1.0,
    agreement_loss="zero_one",
    certificate_path=None,
    files=(),
    variants=(),
    golden=None,
    license="Apache-2.0",
    provenance={},
)


def signal(array: NDArray[Any], manifest: PackManifest | None = MANIFEST) -> Signal:
    """Draw a window."""
    drawn = draw((Tensor.from_array("window", array[np.newaxis]),), manifest)
    assert isinstance(drawn, Signal)
    return drawn


def test_a_window_is_drawn_with_the_names_and_length_that_its_pack_declares() -> None:
    """From the lowest to the highest value, over the whole width, with the line of zero."""
    drawn = signal(np.array([[-1.0, 0], [0, 0], [1, 0], [3, 0]], np.float32))
    (strip,) = drawn.strips
    assert [curve.name for curve in strip.curves] == ["ax", "ay"]
    assert strip.curves[0].path == f"M0.0 112.0L{WIDTH / 3:.1f} 86.0L{2 * WIDTH / 3:.1f} 60.0L{WIDTH}.0 8.0"
    assert (strip.low, strip.high, strip.zero_y) == (-1.0, 3.0, 86.0)
    assert (drawn.samples, drawn.span_s, drawn.hidden) == (4, 0.08, 0)


def test_an_unknown_pack_leaves_numbers_for_names() -> None:
    """Nor has the window a length then; other channels than declared likewise."""
    drawn = signal(np.zeros((3, 1), np.float32), None)
    assert (drawn.strips[0].curves[0].name, drawn.span_s) == ("channel 1", None)
    assert drawn.strips[0].zero_y is None
    assert drawn.strips[0].curves[0].path.endswith(f"{HEIGHT / 2}")
    assert signal(np.zeros((3, 1), np.float32)).strips[0].curves[0].name == "channel 1"


def test_what_is_not_finite_interrupts_a_curve() -> None:
    """A gap is a gap; a channel without any number has no curve."""
    drawn = signal(np.array([[0, np.nan], [np.nan, np.inf], [1, np.nan]], np.float32))
    assert drawn.strips[0].curves[0].path.count("M") == 2
    assert drawn.strips[0].curves[1].path == ""
    empty = signal(np.full((2, 2), np.nan, np.float32))
    assert (empty.strips[0].low, empty.strips[0].zero_y, empty.strips[0].curves[0].path) == (None, None, "")


def test_a_long_signal_keeps_its_peaks() -> None:
    """Many samples become few points, the extremes among them."""
    values = np.zeros((10_000, 1), np.float32)
    values[7_777] = 5
    path = signal(values, None).strips[0].curves[0].path
    assert " 8.0" in path
    assert len(path) < 20_000


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["ax", "ay", "az", "wx", "wy", "wz"], ((0, 1, 2), (3, 4, 5))),
        (["acc_x", "acc_y", "temp"], ((0, 1), (2,))),
        (["ch1", "ch2", "ch3", "ch4"], ((0, 1, 2), (3,))),
        ([], ()),
    ],
)
def test_channels_of_one_unit_stand_together(names: list[str], groups: tuple[tuple[int, ...], ...]) -> None:
    """Names that differ in an axis or a number, three at a time."""
    assert grouped(names) == groups


def test_too_many_channels_are_counted_instead_of_drawn() -> None:
    """Six strips at most."""
    drawn = signal(np.zeros((3, 24), np.float32), None)
    assert (len(drawn.strips), drawn.hidden) == (6, 6)


@pytest.mark.parametrize("shape", [(28, 20), (28, 20, 3)])
def test_an_image_is_its_pixels(shape: tuple[int, ...]) -> None:
    """Grey and colour, as the decoder gave them."""
    drawn = draw((Tensor.from_array("image", np.zeros((1, *shape), np.uint8)),), None)
    assert isinstance(drawn, Picture)
    assert (drawn.height, drawn.width) == (28, 20)


@pytest.mark.parametrize(
    "array", [np.zeros((1, 4), np.float32), np.zeros((1, 4, 2), np.bool_), np.zeros((1, 0, 2), np.float32)]
)
def test_what_is_neither_is_not_drawn(array: NDArray[Any]) -> None:
    """Other shapes and types, and nothing at all."""
    assert draw((Tensor.from_array("x", array),), MANIFEST) is None
    assert draw((), MANIFEST) is None


def test_a_pack_without_a_window_gives_no_names() -> None:
    """A model may take a plain tensor."""
    assert signal(np.zeros((3, 2), np.float32), replace(MANIFEST, window=None)).strips[0].curves[0].name == "channel 1"


def test_boxes_lie_over_the_picture_in_its_pixels() -> None:
    """Shares become pixels, what reaches beyond is cut off, what lies outside is left out; the edge's come first."""
    picture = Picture(np.zeros((4, 8), np.uint8))
    pixels = Detection((Box("bolt", 0.75, -2.0, 1.0, 3.0, 9.0), Box("nut", 0.5, 9.0, 0.0, 12.0, 2.0)), "pixels", 0.5)
    shares = Detection((Box("nut", 0.5, 0.25, 0.5, 0.5, 1.0),), "share", 0.5)
    assert outlines(picture, {Tier.HUB: shares, Tier.EDGE: pixels}) == (
        Outline(Tier.EDGE, "bolt", 0.75, 0.0, 1.0, 3.0, 3.0),
        Outline(Tier.HUB, "nut", 0.5, 2.0, 2.0, 2.0, 2.0),
    )
