"""How the networks learn, and how they leave torch.

Owns the training loop (plain labels, or a teacher's logits beside them), the augmentation and the export to ONNX. All
of it is seeded and runs in one thread, so that the same machine gives the same bytes again.
"""

import io
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from model_packs.shipped.motion_band import dataset, split

OPSET = 18
BATCH = 64
PEAK_LEARNING_RATE = 4e-3
WEIGHT_DECAY = 1e-2
# Soft targets: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2.
DISTILLATION_TEMPERATURE = 3.0
DISTILLATION_SHARE = 0.5
# Gains of whole windows, and noise in units of a channel's standard deviation on half of the windows.
GAIN_RANGE = (0.9, 1.1)
LARGEST_NOISE = 0.05


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a network learns from.

    Attributes:
        windows: float32 [n, rows, channels], raw units.
        labels: int64 [n], class indices.
        epochs: Passes over the windows.
        seed: Seed of the weights, the order and the augmentation.
    """

    windows: NDArray[np.float32]
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
        teacher: In evaluation mode; when given, its logits on the same augmented windows are half of the loss.
    """
    generator = torch.Generator().manual_seed(lesson.seed)
    windows = torch.as_tensor(lesson.windows)
    labels = torch.as_tensor(lesson.labels)
    spread = windows.reshape(-1, windows.shape[-1]).std(dim=0)
    steps = lesson.epochs * (len(windows) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=PEAK_LEARNING_RATE, total_steps=steps)
    network.train()
    for _epoch in range(lesson.epochs):
        order = torch.randperm(len(windows), generator=generator)
        for batch in order[: len(order) // BATCH * BATCH].split(BATCH):
            augmented = _augmented(windows[batch], spread, generator)
            loss = _loss(network(augmented), labels[batch], augmented, teacher)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()


def _augmented(windows: torch.Tensor, spread: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Windows with another gain each, half of them with noise of a strength of its own."""
    low, high = GAIN_RANGE
    count = len(windows)
    gain = low + (high - low) * torch.rand(count, 1, 1, generator=generator)
    strength = LARGEST_NOISE * torch.rand(count, 1, 1, generator=generator)
    noisy = (torch.rand(count, 1, 1, generator=generator) < 0.5).float()  # noqa: PLR2004 (half of them)
    noise = torch.randn(windows.shape, generator=generator) * spread
    return windows * gain + noisy * strength * noise


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

    The tracing exporter is used on purpose: the newer one adds some 20 kB of notes to a file of 10 kB.

    Args:
        network: In evaluation mode.

    Returns:
        The file: input "window" FP32 [-1, 50, 6], output "logits" FP32 [-1, 7].
    """
    example = torch.zeros(2, split.WINDOW_ROWS, len(dataset.CHANNELS))
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (example,),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=["window"],
            output_names=["logits"],
            dynamic_axes={"window": {0: "batch"}, "logits": {0: "batch"}},
        )
    return file.getvalue()
