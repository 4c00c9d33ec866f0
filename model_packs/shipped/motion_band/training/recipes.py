"""The three networks of the family: what each learns from, and for how long.

Owns the choices: seed, widths, epochs, wrists. Between widths the tuning rows decide: of the 119 most confident of the
right wrist's 141 tuning windows, students of width 8, 10 and 12 had 4, 3 and 0 wrong. What was built and seen before is
said on the family's page. The loop is `learning`'s, the shapes are `networks`'.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_packs.shipped.motion_band import split
from model_packs.shipped.motion_band.dataset import Recording, Wrist
from model_packs.shipped.motion_band.training import learning, networks

SEED = 20261121

RIGHT = frozenset({Wrist.RIGHT})
LEFT = frozenset({Wrist.LEFT})
BOTH = frozenset(Wrist)

TEACHER_WIDTH = 48
TEACHER_EPOCHS = 12
FIRST_STUDENT_WIDTH = 12
SECOND_STUDENT_WIDTH = 24
STUDENT_EPOCHS = 40


@dataclass(frozen=True, slots=True)
class Rows:
    """Windows of one part with what is known about each.

    Attributes:
        windows: float32 [n, rows, channels], raw units.
        labels: int64 [n], class indices.
        recordings: int64 [n], index of the recording that the window was cut from.
    """

    windows: NDArray[np.float32]
    labels: NDArray[np.int64]
    recordings: NDArray[np.int64]

    def chosen(self, mask: NDArray[np.bool_]) -> "Rows":
        """The rows where the mask is true."""
        return Rows(self.windows[mask], self.labels[mask], self.recordings[mask])


def rows_of(recordings: Iterable[Recording], part: split.Part, wrists: frozenset[Wrist]) -> Rows:
    """Gather the windows of a part from the recordings of some wrists."""
    chosen = [recording for recording in recordings if recording.wrist in wrists]
    windows = [split.windows(part, recording) for recording in chosen]
    counts = [len(found) for found in windows]
    return Rows(
        np.concatenate(windows),
        np.repeat(np.array([recording.exercise_index for recording in chosen], dtype=np.int64), counts),
        np.repeat(np.array([recording.index for recording in chosen], dtype=np.int64), counts),
    )


@dataclass(frozen=True, slots=True)
class Family:
    """The three networks, trained.

    Attributes:
        teacher: Both wrists; the hub's.
        first: Right wrist only, distilled; the first edge pack's.
        second: Wider, both wrists, distilled; the edge pack that comes after left wrists did.
    """

    teacher: nn.Module
    first: nn.Module
    second: nn.Module


def train_family(recordings: Iterable[Recording]) -> Family:
    """Train all three on the training part of the recordings given."""
    known = tuple(recordings)
    both = rows_of(known, split.Part.TRAINING, BOTH)
    right = rows_of(known, split.Part.TRAINING, RIGHT)
    teacher = _trained(networks.teacher, TEACHER_WIDTH, both, TEACHER_EPOCHS)
    first = _trained(networks.student, FIRST_STUDENT_WIDTH, right, STUDENT_EPOCHS, teacher)
    second = _trained(networks.student, SECOND_STUDENT_WIDTH, both, STUDENT_EPOCHS, teacher)
    return Family(teacher, first, second)


def _trained(
    shape: Callable[[int], nn.Module], width: int, rows: Rows, epochs: int, teacher: nn.Module | None = None
) -> nn.Module:
    """Build a network under the seed and train it."""
    torch.manual_seed(SEED)
    network = networks.Normalised(shape(width), rows.windows)
    learning.learn(network, learning.Lesson(rows.windows, rows.labels, epochs, SEED), teacher)
    return network
