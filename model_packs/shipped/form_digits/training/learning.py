"""How the networks learn, and how they leave torch.

Owns the training loop (plain labels, or a teacher's logits beside them), the augmentation and the export to ONNX. All
of it is seeded and runs in one thread, so that the same machine gives the same bytes again.
"""

import io
import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from model_packs.shipped.form_digits import dataset

OPSET = 18
BATCH = 64
PEAK_LEARNING_RATE = 4e-3
WEIGHT_DECAY = 1e-2
# Soft targets: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2.
DISTILLATION_TEMPERATURE = 3.0
DISTILLATION_SHARE = 0.5
# How far a hand and a scanner may turn, stretch, slant and shift a digit.
LARGEST_TURN_RAD = math.radians(12.0)
LARGEST_STRETCH = 0.12
LARGEST_SLANT = 0.2
LARGEST_SHIFT_PIXELS = 2.0


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a network learns from.

    Attributes:
        crops: uint8 [n, height, width], as devices see them.
        labels: int64 [n], class indices.
        epochs: Passes over the crops.
        seed: Seed of the weights, the order and the augmentation.
    """

    crops: NDArray[np.uint8]
    labels: NDArray[np.int64]
    epochs: int
    seed: int


def one_thread() -> None:
    """Make torch deterministic, errors included where it cannot be."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)


def learn(network: nn.Module, lesson: Lesson, teacher: nn.Module | None = None) -> None:
    """Train a network in place and leave it in evaluation mode.

    Args:
        network: What learns; build it under the same seed to repeat a run.
        lesson: What it learns from.
        teacher: In evaluation mode; when given, its logits on the same augmented crops are half of the loss.
    """
    generator = torch.Generator().manual_seed(lesson.seed)
    crops = torch.as_tensor(lesson.crops).float()
    labels = torch.as_tensor(lesson.labels)
    steps = lesson.epochs * (len(crops) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=PEAK_LEARNING_RATE, total_steps=steps)
    network.train()
    for _epoch in range(lesson.epochs):
        order = torch.randperm(len(crops), generator=generator)
        for batch in order[: len(order) // BATCH * BATCH].split(BATCH):
            augmented = _augmented(crops[batch], generator)
            loss = _loss(network(augmented), labels[batch], augmented, teacher)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()


def _augmented(crops: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Crops, each turned, stretched, slanted and shifted a little."""
    count = len(crops)

    def spread(largest: float, columns: int) -> torch.Tensor:
        return largest * (2.0 * torch.rand(count, columns, generator=generator) - 1.0)

    turn = spread(LARGEST_TURN_RAD, 1)[:, 0]
    stretch = 1.0 + spread(LARGEST_STRETCH, 2)
    slant = spread(LARGEST_SLANT, 1)[:, 0]
    shift = spread(2.0 * LARGEST_SHIFT_PIXELS / dataset.SIDE_PIXELS, 2)  # a grid's sides run from -1 to 1
    turned = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()], dim=1).reshape(-1, 2, 2)
    slanted = torch.eye(2).repeat(count, 1, 1)
    slanted[:, 0, 1] = slant
    linear = turned @ slanted @ torch.diag_embed(stretch)
    grid = functional.affine_grid(
        torch.cat([linear, shift.unsqueeze(2)], dim=2), [count, 1, *crops.shape[1:]], align_corners=False
    )
    return functional.grid_sample(crops.unsqueeze(1), grid, align_corners=False).squeeze(1)


def _loss(
    logits: torch.Tensor, labels: torch.Tensor, augmented: torch.Tensor, teacher: nn.Module | None
) -> torch.Tensor:
    """Cross entropy with the labels, mixed with the teacher's soft targets when there is a teacher."""
    hard = functional.cross_entropy(logits, labels)
    if teacher is None:
        return hard
    with torch.no_grad():
        targets = functional.softmax(teacher(augmented) / DISTILLATION_TEMPERATURE, dim=1)
    soft = functional.kl_div(
        functional.log_softmax(logits / DISTILLATION_TEMPERATURE, dim=1), targets, reduction="batchmean"
    )
    return (1.0 - DISTILLATION_SHARE) * hard + DISTILLATION_SHARE * DISTILLATION_TEMPERATURE**2 * soft


def to_onnx(network: nn.Module) -> bytes:
    """The network as an ONNX file, batch size free.

    The tracing exporter is used on purpose: the newer one adds some 20 kB of notes to a file of 20 kB.

    Args:
        network: In evaluation mode.

    Returns:
        The file: input "image" UINT8 [-1, 28, 28], output "logits" FP32 [-1, 10].
    """
    example = torch.zeros(2, dataset.SIDE_PIXELS, dataset.SIDE_PIXELS, dtype=torch.uint8)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (example,),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        )
    return file.getvalue()
