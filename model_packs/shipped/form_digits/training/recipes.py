"""The networks of the family: what each learns from, and for how long.

Owns the choices: seed, widths, epochs, members. They were made on tuning rows alone, with other seeds than the one
below: students of width 8, 10 and 12 were right in 96.8 %, 96.8 % and 97.1 % of the 400 tuning crops when taught by
labels, those of width 8 and 12 in 96.9 % and 98.1 % when taught by one teacher, too (means of two seeds); committees of
one, two and three teachers in 98.8 %, 99.0 % and 99.0 %. The loop is `learning`'s, the shapes are `networks`'.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_packs.shipped.form_digits import crops, split
from model_packs.shipped.form_digits.dataset import Digits
from model_packs.shipped.form_digits.training import learning, networks

SEED = 20261122

TEACHER_WIDTH = 24
TEACHER_EPOCHS = 24
TEACHER_MEMBERS = 2
STUDENT_WIDTH = 12
STUDENT_EPOCHS = 40


@dataclass(frozen=True, slots=True)
class Rows:
    """Crops of one part with what they show.

    Attributes:
        crops: uint8 [n, height, width], through JPEG and back.
        labels: int64 [n], class indices.
    """

    crops: NDArray[np.uint8]
    labels: NDArray[np.int64]


def rows_of(digits: Digits, part: split.Part) -> Rows:
    """The crops of a part, as a device sees them."""
    chosen = split.indices(part, digits.labels)
    return Rows(crops.as_seen(digits.images[chosen]), digits.labels[chosen])


@dataclass(frozen=True, slots=True)
class Family:
    """The networks, trained.

    Attributes:
        teacher: The hub's committee.
        student: The edge's, distilled.
    """

    teacher: nn.Module
    student: nn.Module


def train_family(rows: Rows) -> Family:
    """Train all on the training rows."""
    members = [
        _trained(networks.teacher, TEACHER_WIDTH, learning.Lesson(rows.crops, rows.labels, TEACHER_EPOCHS, SEED + nth))
        for nth in range(TEACHER_MEMBERS)
    ]
    teacher = networks.Committee(members).eval()
    lesson = learning.Lesson(rows.crops, rows.labels, STUDENT_EPOCHS, SEED)
    return Family(teacher, _trained(networks.student, STUDENT_WIDTH, lesson, teacher))


def _trained(
    shape: Callable[[int], nn.Module], width: int, lesson: learning.Lesson, teacher: nn.Module | None = None
) -> nn.Module:
    """Build a network under the lesson's seed and train it."""
    torch.manual_seed(lesson.seed)
    network = networks.Normalised(shape(width), lesson.crops)
    learning.learn(network, lesson, teacher)
    return network
