"""Healthy networks that make images, written from their papers at reduced width, at their own published initialization. Needs torch."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Built = tuple[nn.Module, tuple[Tensor, ...]]


# U-Net (Ronneberger et al. 2015, arXiv:1505.04597), with batch normalization as everybody trains it
def _double(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(),
        nn.Conv2d(out, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(),
    )  # fmt: skip


class UNet(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.down = nn.ModuleList([_double(3, width), _double(width, 2 * width), _double(2 * width, 4 * width)])
        self.middle = _double(4 * width, 8 * width)
        self.up = nn.ModuleList([nn.ConvTranspose2d(n * width, n * width // 2, 2, 2) for n in (8, 4, 2)])
        self.merge = nn.ModuleList([_double(n * width, n * width // 2) for n in (8, 4, 2)])
        self.head = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.middle(x)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            x = merge(torch.cat([skip, up(x)], 1))
        return self.head(x)


def unet() -> Built:
    return UNet(), (torch.randn(2, 3, 64, 64),)


# DCGAN generator (Radford et al. 2015, arXiv:1511.06434): normal 0.02
def dcgan_generator() -> Built:
    layers: list[nn.Module] = []
    channels = 64
    for out, stride, pad in ((128, 1, 0), (64, 2, 1), (32, 2, 1)):
        layers += [nn.ConvTranspose2d(channels, out, 4, stride, pad, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        channels = out
    layers += [nn.ConvTranspose2d(channels, 3, 4, 2, 1, bias=False), nn.Tanh()]
    model = nn.Sequential(*layers)
    for module in model.modules():
        if isinstance(module, nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    return model, (torch.randn(2, 64, 1, 1),)


# Variational autoencoder (Kingma & Welling 2013, arXiv:1312.6114)
class Vae(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, 400)
        self.mean = nn.Linear(400, 20)
        self.log_variance = nn.Linear(400, 20)
        self.fc3 = nn.Linear(20, 400)
        self.fc4 = nn.Linear(400, 784)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = F.relu(self.fc1(x))
        mean, log_variance = self.mean(h), self.log_variance(h)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mean, log_variance


def vae() -> Built:
    return Vae(), (torch.rand(2, 784),)


# Deep autoencoder (Hinton & Salakhutdinov 2006) with ReLU units, torch's default initialization
def autoencoder() -> Built:
    widths = (784, 256, 128, 64, 32)
    layers: list[nn.Module] = []
    for inner, outer in itertools.pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    layers.pop()
    for inner, outer in itertools.pairwise(widths[::-1]):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    layers[-1] = nn.Sigmoid()
    return nn.Sequential(*layers), (torch.rand(2, 784),)


# DDPM's U-Net (Ho et al. 2020, arXiv:2006.11239): Glorot uniform, the last layer of every branch zero
def _timestep_embedding(t: Tensor, width: int) -> Tensor:
    frequencies = torch.exp(torch.arange(width // 2) * (-math.log(10000.0) / (width // 2 - 1)))
    angles = t.float()[:, None] * frequencies[None]
    return torch.cat([torch.sin(angles), torch.cos(angles)], 1)


class DiffusionBlock(nn.Module):
    def __init__(self, channels: int, out: int, time_width: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, channels), nn.Conv2d(channels, out, 3, padding=1)
        self.time = nn.Linear(time_width, out)
        self.norm2, self.dropout, self.conv2 = nn.GroupNorm(8, out), nn.Dropout(0.1), nn.Conv2d(out, out, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x))) + self.time(F.silu(time))[:, :, None, None]
        return self.shortcut(x) + self.conv2(self.dropout(F.silu(self.norm2(h))))


class SpatialAttention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.qkv = nn.GroupNorm(8, channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        q, k, v = self.qkv(self.norm(x)).flatten(2).chunk(3, 1)
        weights = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(channels), -1)
        return x + self.out((v @ weights.transpose(1, 2)).reshape(batch, channels, height, width))


class DiffusionUNet(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width, time_width = width, 4 * width
        self.time1, self.time2 = nn.Linear(width, time_width), nn.Linear(time_width, time_width)
        self.start = nn.Conv2d(3, width, 3, padding=1)
        self.down1, self.reduce = DiffusionBlock(width, width, time_width), nn.Conv2d(width, width, 3, 2, 1)
        self.down2 = DiffusionBlock(width, 2 * width, time_width)
        self.middle1, self.attention = DiffusionBlock(2 * width, 2 * width, time_width), SpatialAttention(2 * width)
        self.middle2 = DiffusionBlock(2 * width, 2 * width, time_width)
        self.up2 = DiffusionBlock(4 * width, 2 * width, time_width)
        self.enlarge = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.up1 = DiffusionBlock(3 * width, width, time_width)
        self.norm, self.out = nn.GroupNorm(8, width), nn.Conv2d(width, 3, 3, padding=1)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        ends = [block.conv2 for block in self.modules() if isinstance(block, DiffusionBlock)]
        for last in (*ends, self.attention.out, self.out):
            nn.init.zeros_(last.weight)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        time = self.time2(F.silu(self.time1(_timestep_embedding(t, self.width))))
        first = self.down1(self.start(x), time)
        second = self.down2(self.reduce(first), time)
        h = self.middle2(self.attention(self.middle1(second, time)), time)
        h = self.up2(torch.cat([h, second], 1), time)
        h = self.enlarge(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        h = self.up1(torch.cat([h, first], 1), time)
        return self.out(F.silu(self.norm(h)))


def diffusion_unet() -> Built:
    return DiffusionUNet(), (torch.randn(2, 3, 16, 16), torch.randint(0, 1000, (2,)))


# DCGAN's discriminator (Radford et al. 2015, arXiv:1511.06434): normal 0.02, leaky ReLU
def dcgan_discriminator() -> Built:
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for inner, outer in ((32, 64), (64, 128)):
        layers += [nn.Conv2d(inner, outer, 4, 2, 1, bias=False), nn.BatchNorm2d(outer), nn.LeakyReLU(0.2)]
    layers += [nn.Conv2d(128, 1, 4, bias=False), nn.Flatten()]
    model = nn.Sequential(*layers)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    return model, (torch.randn(2, 3, 32, 32),)
