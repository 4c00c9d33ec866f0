"""The baselines: each shipped pack alone on the very inputs that are sent."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deploy.demo.baselines import Bench, field_digits, wrist_questions
from deploy.demo.fleet import DIGITS_EDGE_PACK, DIGITS_HUB_PACK, EDGE_PACK, HUB_PACK, NEXT_EDGE_PACK
from model_packs.manifest import PackRef
from model_packs.shipped.form_digits import crops
from model_packs.shipped.form_digits.dataset import LABELS, Digits
from model_packs.shipped.motion_band import split
from model_packs.shipped.motion_band.dataset import EXERCISES
from tests.unit.deploy.test_watches import recording


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A driver's own pack store."""
    made = Bench(tmp_path)
    made.open()
    return made


@pytest.mark.parametrize("ref", [EDGE_PACK, NEXT_EDGE_PACK, HUB_PACK], ids=str)
def test_a_pack_answers_each_window_alike_whatever_the_batch(bench: Bench, ref: PackRef) -> None:
    """More windows than fit into one run are all answered, in order."""
    count = 200
    windows = np.random.default_rng(0).normal(size=(count, 50, 6)).astype(np.float32)
    labels = bench.alone(ref, windows)
    assert len(labels) == count
    assert set(labels) <= set(EXERCISES)
    assert labels[-3:] == [label for window in windows[-3:] for label in bench.alone(ref, window[None])]


def test_every_field_window_has_its_own_truth_and_baselines(bench: Bench) -> None:
    """Questions are joined to windows by place, so the labels are those of the recording's own field windows."""
    recordings = [recording(0, 1), recording(1, 2), recording(2, 1)]
    questions = wrist_questions(recordings, bench)
    assert list(questions) == [(index, place) for index in range(3) for place in range(4)]
    for (index, place), question in questions.items():
        window = split.field_windows(recordings[index])[place][None]
        assert (question.truth, question.group, question.cluster) == ("PEN", "right wrist", index)
        assert [question.hub_label] == bench.alone(HUB_PACK, window)
        expected = {str(ref): bench.alone(ref, window)[0] for ref in (EDGE_PACK, NEXT_EDGE_PACK)}
        assert question.edge_labels == expected


class SeeingBench(Bench):
    """Remembers what each pack is shown, and lets it answer with the image's number."""

    def __init__(self) -> None:
        self.seen: dict[PackRef, NDArray[Any]] = {}

    def alone(self, ref: PackRef, inputs: NDArray[Any]) -> list[str | None]:
        """The images' numbers."""
        self.seen[ref] = inputs
        return [f"{ref.name} {number}" for number in range(len(inputs))]


def test_a_digit_is_judged_by_the_pixels_that_the_device_sees() -> None:
    """The field part only, each digit with its own truth; both packs see what comes out of the JPEG."""
    labels = np.repeat(np.arange(10, dtype=np.int64), 500)
    images = np.random.default_rng(1).integers(0, 256, size=(len(labels), 28, 28), dtype=np.uint8)
    bench = SeeingBench()
    shown = field_digits(Digits(images, labels), bench)
    indices = [digit.question.cluster for digit in shown]
    assert len(set(indices)) == 1000
    assert [digit.question.truth for digit in shown] == [LABELS[labels[index]] for index in indices]
    assert all(np.array_equal(digit.image, images[digit.question.cluster]) for digit in shown)
    assert set(bench.seen) == {DIGITS_EDGE_PACK, DIGITS_HUB_PACK}
    assert all(np.array_equal(seen, crops.as_seen(images[indices])) for seen in bench.seen.values())
    assert shown[7].question.edge_labels == {str(DIGITS_EDGE_PACK): "form-digits-edge 7"}
    assert shown[7].question.hub_label == "form-digits-hub 7"
