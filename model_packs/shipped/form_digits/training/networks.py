"""The networks of the form-digits family.

Owns their shapes, with the normalisation inside: a network takes crops as a decoder gives them, uint8 [batch, height,
width], and gives logits [batch, classes]. How they learn is in `learning`.
"""

import torch
from numpy.typing import NDArray
from torch import nn

from model_packs.shipped.form_digits import dataset

CLASSES = len(dataset.LABELS)


class Normalised(nn.Module):
    """A network behind its own normalisation, so that a device cannot normalise differently from the training.

    Attributes:
        mean: float32 scalar, mean grey value of the training crops.
        scale: float32 scalar, one over the standard deviation of the training crops.
    """

    def __init__(self, body: nn.Module, crops: NDArray) -> None:
        super().__init__()
        self.body = body
        table = torch.as_tensor(crops, dtype=torch.float64)
        self.register_buffer("mean", table.mean().float())
        self.register_buffer("scale", (1.0 / table.std()).float())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of crops; augmented ones may come as float32."""
        return self.body(((image.float() - self.mean) * self.scale).unsqueeze(1))


class Committee(nn.Module):
    """Networks that answer together: their mean log probability.

    Attributes:
        members: The networks, each trained on its own.
    """

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of crops."""
        return torch.stack([torch.log_softmax(member(image), dim=1) for member in self.members]).mean(dim=0)


def student(width: int) -> nn.Module:
    """A depthwise-separable network of 6 w^2 + 388 w + 10 parameters: 5,530 at width 12.

    It ends without global pooling: which digit it is depends on where its strokes are.
    """
    return nn.Sequential(
        nn.Conv2d(1, width, kernel_size=5, stride=2, padding=2, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        *_separable(width, 2 * width, stride=2),
        *_separable(2 * width, 2 * width, stride=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(2 * width * 4 * 4, CLASSES),
    )


def _separable(before: int, after: int, stride: int) -> list[nn.Module]:
    """A depthwise and a pointwise convolution, each with its batch normalisation."""
    return [
        nn.Conv2d(before, before, kernel_size=3, stride=stride, padding=1, groups=before, bias=False),
        nn.BatchNorm2d(before),
        nn.ReLU(),
        nn.Conv2d(before, after, kernel_size=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    ]


def teacher(width: int) -> nn.Module:
    """One member of the hub's committee: five plain convolutions in three sizes; 79,426 parameters at width 24."""
    return nn.Sequential(
        *_convolution(1, width, stride=1),
        *_convolution(width, width, stride=2),
        *_convolution(width, 2 * width, stride=1),
        *_convolution(2 * width, 2 * width, stride=2),
        *_convolution(2 * width, 4 * width, stride=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(4 * width, CLASSES),
    )


def _convolution(before: int, after: int, stride: int) -> list[nn.Module]:
    """A convolution with its batch normalisation."""
    return [
        nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    ]


def parameter_count(network: nn.Module) -> int:
    """Trained parameters (the normalisation's buffers are not)."""
    return sum(parameter.numel() for parameter in network.parameters())
