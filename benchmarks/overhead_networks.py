"""The networks of `benchmarks.overhead`, each with a batch to train it on. Needs torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Case:
    """`words` says what the batch is; `limit` and `aim` are quotients of CPU time, instrumented over bare."""

    build: Callable[[], nn.Module]
    batch: Callable[[], tuple[Tensor, Tensor]]
    words: str
    limit: float
    aim: float
    pairs: int


def mlp() -> nn.Module:
    hidden = [layer for _ in range(9) for layer in (nn.Linear(512, 512), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(512, 10))


class Block(nn.Module):
    """Two 3×3 convolutions beside an identity or a projection (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(given, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.down = (
            nn.Sequential(nn.Conv2d(given, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            if stride > 1 or given != width
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        return self.relu(y + self.down(x))


def resnet18() -> nn.Module:
    sizes = (
        (64, 64, 1),
        (64, 64, 1),
        (64, 128, 2),
        (128, 128, 1),
        (128, 256, 2),
        (256, 256, 1),
        (256, 512, 2),
        (512, 512, 1),
    )
    stem = (nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(
        *stem, *(Block(*size) for size in sizes), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)
    )


class Transformer(nn.Module):
    """Six pre-norm encoder layers of width 256 over 128 tokens, and logits for each token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(1000, 256), nn.Parameter(0.02 * torch.randn(1, 128, 256))
        layer = nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True, norm_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.head = nn.Linear(256, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x) + self.position)).transpose(1, 2)


CASES = {
    "MLP 10×512": Case(mlp, lambda: (torch.randn(256, 512), torch.randint(0, 10, (256,))), "256 examples", 1.20, 1.10, 40),
    "ResNet-18-like": Case(resnet18, lambda: (torch.randn(16, 3, 64, 64), torch.randint(0, 10, (16,))), "16 images of 64×64", 1.10, 1.05, 16),
    "transformer 6×256": Case(
        Transformer, lambda: (torch.randint(0, 1000, (8, 128)), torch.randint(0, 1000, (8, 128))), "8 sequences of 128 tokens", 1.10, 1.05, 12
    ),
}  # fmt: skip
