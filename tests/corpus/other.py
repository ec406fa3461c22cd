"""Healthy networks of other kinds (pairs, graphs, tables, fields), written from their papers, at their own published initialization. Needs torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Built = tuple[nn.Module, tuple[Tensor, ...]]


# Siamese network (Bromley et al. 1993), as in PyTorch's example: shared convolutions, Glorot uniform, bias 0.01
class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.fc = nn.Sequential(nn.Linear(2 * 256, 256), nn.ReLU(), nn.Linear(256, 1))
        for module in self.fc:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.constant_(module.bias, 0.01)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return torch.sigmoid(self.fc(torch.cat([self.tower(first), self.tower(second)], 1)))


def siamese() -> Built:
    return Siamese(), (torch.randn(2, 1, 28, 28), torch.randn(2, 1, 28, 28))


# Graph convolutional network (Kipf & Welling 2016, arXiv:1609.02907): Glorot uniform; the normalized adjacency is an input
class Gcn(nn.Module):
    def __init__(self, features: int = 128, width: int = 64, classes: int = 7) -> None:
        super().__init__()
        self.layer1, self.layer2 = nn.Linear(features, width, bias=False), nn.Linear(width, classes, bias=False)
        self.bias1, self.bias2 = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(classes))
        self.dropout = nn.Dropout(0.5)
        nn.init.xavier_uniform_(self.layer1.weight)
        nn.init.xavier_uniform_(self.layer2.weight)

    def forward(self, adjacency: Tensor, x: Tensor) -> Tensor:
        h = F.relu(adjacency @ self.layer1(self.dropout(x)) + self.bias1)
        return adjacency @ self.layer2(self.dropout(h)) + self.bias2


def gcn() -> Built:
    adjacency = (torch.rand(2, 20, 20) < 0.2).float() + torch.eye(20)
    degree = adjacency.sum(-1).rsqrt()
    return Gcn(), (degree[:, :, None] * adjacency * degree[:, None], torch.rand(2, 20, 128))


# DLRM (Naumov et al. 2019, arXiv:1906.00091): their own normal and uniform initialization, pairwise products of embeddings
class Dlrm(nn.Module):
    def __init__(self, tables: int = 6, rows: int = 100, width: int = 32) -> None:
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(rows, width) for _ in range(tables)])
        self.bottom = nn.ModuleList([nn.Linear(13, 128), nn.Linear(128, 64), nn.Linear(64, width)])
        pairs = (tables + 1) * tables // 2
        self.top = nn.ModuleList([nn.Linear(width + pairs, 128), nn.Linear(128, 64), nn.Linear(64, 1)])
        self.pairs = [(i, j) for i in range(tables + 1) for j in range(i)]
        for table in self.tables:
            nn.init.uniform_(table.weight, -math.sqrt(1 / rows), math.sqrt(1 / rows))
        for layer in (*self.bottom, *self.top):
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / (layer.in_features + layer.out_features)))
            nn.init.normal_(layer.bias, 0.0, math.sqrt(1 / layer.out_features))

    def forward(self, dense: Tensor, sparse: Tensor) -> Tensor:
        for layer in self.bottom:
            dense = F.relu(layer(dense))
        vectors = torch.stack([dense, *(table(sparse[:, index]) for index, table in enumerate(self.tables))], 1)
        products = vectors @ vectors.transpose(1, 2)
        h = torch.cat([dense, *(products[:, i, j, None] for i, j in self.pairs)], 1)
        for layer in self.top[:-1]:
            h = F.relu(layer(h))
        return torch.sigmoid(self.top[-1](h))


def dlrm() -> Built:
    return Dlrm(), (torch.randn(2, 13), torch.randint(0, 100, (2, 6)))


# NeRF (Mildenhall et al. 2020, arXiv:2003.08934) as nerf-pytorch has it: eight ReLU layers, torch's default initialization, one skip
class Nerf(nn.Module):
    def __init__(self, width: int = 128, octaves: int = 10) -> None:
        super().__init__()
        self.octaves, encoded = octaves, 3 + 6 * octaves
        self.layers = nn.ModuleList(
            [nn.Linear(encoded if not index else width + encoded if index == 5 else width, width) for index in range(8)]
        )
        self.density, self.feature = nn.Linear(width, 1), nn.Linear(width, width)
        self.view, self.color = nn.Linear(width + 27, width // 2), nn.Linear(width // 2, 3)

    def encode(self, x: Tensor, octaves: int) -> Tensor:
        waves = [f(x * 2.0**octave) for octave in range(octaves) for f in (torch.sin, torch.cos)]
        return torch.cat([x, *waves], -1)

    def forward(self, position: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        encoded = self.encode(position, self.octaves)
        h = encoded
        for index, layer in enumerate(self.layers):
            h = F.relu(layer(torch.cat([encoded, h], -1) if index == 5 else h))
        view = F.relu(self.view(torch.cat([self.feature(h), self.encode(direction, 4)], -1)))
        return torch.sigmoid(self.color(view)), F.relu(self.density(h))


def nerf() -> Built:
    return Nerf(), (torch.rand(2, 3) * 2 - 1, F.normalize(torch.randn(2, 3), dim=-1))


# SIREN (Sitzmann et al. 2020, arXiv:2006.09661): sines of 30 x; uniform 1/fan_in first, then sqrt(6/fan_in)/30
class SineLayer(nn.Module):
    def __init__(self, inputs: int, outputs: int, is_first: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        bound = 1 / inputs if is_first else math.sqrt(6 / inputs) / 30
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(30 * self.linear(x))


def siren() -> Built:
    last = nn.Linear(128, 3)
    nn.init.uniform_(last.weight, -math.sqrt(6 / 128) / 30, math.sqrt(6 / 128) / 30)
    layers = [SineLayer(2, 128, True), *(SineLayer(128, 128) for _ in range(3)), last]
    return nn.Sequential(*layers), (torch.rand(2, 2) * 2 - 1,)


# Self-normalizing network (Klambauer et al. 2017, arXiv:1706.02515): SELU, LeCun normal, alpha dropout
def self_normalizing() -> Built:
    layers: list[nn.Module] = []
    for index in range(8):
        layers += [nn.Linear(64 if not index else 128, 128), nn.SELU(), nn.AlphaDropout(0.05)]
    model = nn.Sequential(*layers, nn.Linear(128, 10))
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            nn.init.zeros_(module.bias)
    return model, (torch.randn(2, 64),)


# Two-tower contrastive model (CLIP, Radford et al. 2021, arXiv:2103.00020): normalized embeddings and a learned temperature
class TwoTower(nn.Module):
    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Linear(192, 128), nn.LayerNorm(128), nn.GELU(), nn.Linear(128, width, bias=False))
        self.text = nn.Sequential(nn.Linear(96, 128), nn.LayerNorm(128), nn.GELU(), nn.Linear(128, width, bias=False))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        image, text = F.normalize(self.image(image), dim=-1), F.normalize(self.text(text), dim=-1)
        return self.logit_scale.exp() * image @ text.t()


def two_tower() -> Built:
    return TwoTower(), (torch.randn(4, 192), torch.randn(4, 96))
