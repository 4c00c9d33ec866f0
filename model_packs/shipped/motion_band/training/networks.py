"""The networks of the motion-band family.

Owns their shapes, with the normalisation inside: a network takes raw samples, [batch, rows, channels], and gives logits
[batch, classes]. How they learn is in `learning`.
"""

import torch
from numpy.typing import NDArray
from torch import nn

from model_packs.shipped.motion_band import dataset

CHANNELS = len(dataset.CHANNELS)
CLASSES = len(dataset.EXERCISES)


class Normalised(nn.Module):
    """A network behind its own normalisation, so that a device cannot normalise differently from the training.

    Attributes:
        mean: float32 [channels], of the training rows.
        scale: float32 [channels], one over the standard deviation of the training rows.
    """

    def __init__(self, body: nn.Module, rows: NDArray) -> None:
        super().__init__()
        self.body = body
        table = torch.as_tensor(rows, dtype=torch.float64).reshape(-1, CHANNELS)
        self.register_buffer("mean", table.mean(dim=0).float())
        self.register_buffer("scale", (1.0 / table.std(dim=0)).float())

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        """Logits of raw windows."""
        return self.body(((window - self.mean) * self.scale).transpose(1, 2))


def student(width: int) -> nn.Module:
    """A depthwise-separable network of 6 w^2 + 105 w + 7 parameters: 2,131 at width 12, 5,983 at width 24."""
    return nn.Sequential(
        nn.Conv1d(CHANNELS, width, kernel_size=9, stride=2, padding=4, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        *_separable(width, 2 * width, stride=2),
        *_separable(2 * width, 2 * width, stride=1),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(2 * width, CLASSES),
    )


def _separable(before: int, after: int, stride: int) -> list[nn.Module]:
    """A depthwise and a pointwise convolution, each with its batch normalisation."""
    return [
        nn.Conv1d(before, before, kernel_size=7, stride=stride, padding=3, groups=before, bias=False),
        nn.BatchNorm1d(before),
        nn.ReLU(),
        nn.Conv1d(before, after, kernel_size=1, bias=False),
        nn.BatchNorm1d(after),
        nn.ReLU(),
    ]


def teacher(width: int) -> nn.Module:
    """A residual network of 286,471 parameters at width 48."""
    return nn.Sequential(
        nn.Conv1d(CHANNELS, width, kernel_size=7, padding=3, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        _Residual(width, width, kernel_size=5, stride=1),
        _Residual(width, 2 * width, kernel_size=5, stride=2),
        _Residual(2 * width, 4 * width, kernel_size=3, stride=2),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(4 * width, CLASSES),
    )


class _Residual(nn.Module):
    """Two convolutions and the way around them."""

    def __init__(self, before: int, after: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.through = nn.Sequential(
            nn.Conv1d(before, after, kernel_size, stride=stride, padding=padding, bias=False),
            nn.BatchNorm1d(after),
            nn.ReLU(),
            nn.Conv1d(after, after, kernel_size, padding=padding, bias=False),
            nn.BatchNorm1d(after),
        )
        self.around = nn.Identity()
        if before != after or stride != 1:
            self.around = nn.Sequential(
                nn.Conv1d(before, after, kernel_size=1, stride=stride, bias=False), nn.BatchNorm1d(after)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum of both ways."""
        return torch.relu(self.through(x) + self.around(x))


def parameter_count(network: nn.Module) -> int:
    """Trained parameters (the normalisation's buffers are not)."""
    return sum(parameter.numel() for parameter in network.parameters())
