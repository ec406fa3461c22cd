"""Healthy networks for sequences, written from their papers at reduced width, at their own published initialization. Needs torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tests.corpus.modern_attention import RmsNorm

Built = tuple[nn.Module, tuple[Tensor, ...]]


# LSTM language model (Zaremba et al. 2014, arXiv:1409.2329): uniform ±0.1
class LstmLanguageModel(nn.Module):
    def __init__(self, vocabulary: int = 500, width: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.drop = nn.Dropout(0.2)
        self.lstm1 = nn.LSTM(width, width, batch_first=True)
        self.lstm2 = nn.LSTM(width, width, batch_first=True)
        self.decoder = nn.Linear(width, vocabulary)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.uniform_(self.decoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, ids: Tensor) -> Tensor:
        hidden, _ = self.lstm1(self.drop(self.embedding(ids)))
        hidden, _ = self.lstm2(self.drop(hidden))
        return self.decoder(self.drop(hidden))


def lstm_language_model() -> Built:
    return LstmLanguageModel(), (torch.randint(0, 500, (2, 12)),)


# WaveNet (van den Oord et al. 2016, arXiv:1609.03499)
class WaveNetBlock(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.pad = dilation
        self.filter = nn.Conv1d(width, width, 2, dilation=dilation)
        self.gate = nn.Conv1d(width, width, 2, dilation=dilation)
        self.residual = nn.Conv1d(width, width, 1)
        self.skip = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        padded = F.pad(x, (self.pad, 0))
        h = torch.tanh(self.filter(padded)) * torch.sigmoid(self.gate(padded))
        return x + self.residual(h), self.skip(h)


class WaveNet(nn.Module):
    def __init__(self, width: int = 64, classes: int = 256) -> None:
        super().__init__()
        self.start = nn.Conv1d(1, width, 1)
        self.blocks = nn.ModuleList([WaveNetBlock(width, 2**index) for index in range(6)])
        self.end1 = nn.Conv1d(width, width, 1)
        self.end2 = nn.Conv1d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x)
        total: Tensor | float = 0.0
        for block in self.blocks:
            x, skip = block(x)
            total = total + skip
        return self.end2(F.relu(self.end1(F.relu(total))))


def wavenet() -> Built:
    return WaveNet(), (torch.randn(2, 1, 128),)


# Encoder and decoder of GRUs with Luong's attention (Cho et al. 2014, arXiv:1406.1078; Luong et al. 2015, arXiv:1508.04025): uniform ±0.1
class GruSeq2Seq(nn.Module):
    def __init__(self, vocabulary: int = 300, width: int = 96) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(vocabulary, width), nn.Embedding(vocabulary, width)
        self.encoder, self.decoder = nn.GRU(width, width, batch_first=True), nn.GRU(width, width, batch_first=True)
        self.score = nn.Linear(width, width, bias=False)
        self.combine, self.out = nn.Linear(2 * width, width, bias=False), nn.Linear(width, vocabulary)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)

    def forward(self, ids: Tensor, target: Tensor) -> Tensor:
        memory, state = self.encoder(self.source(ids))
        hidden, _ = self.decoder(self.target(target), state)
        weights = torch.softmax(hidden @ self.score(memory).transpose(1, 2), -1)
        return self.out(torch.tanh(self.combine(torch.cat([weights @ memory, hidden], -1))))


def gru_seq2seq() -> Built:
    return GruSeq2Seq(), (torch.randint(0, 300, (2, 10)), torch.randint(0, 300, (2, 7)))


# Mamba (Gu & Dao 2023, arXiv:2312.00752): selective state-space scan, its steps written out; their own initialization
class MambaBlock(nn.Module):
    def __init__(self, width: int, depth: int, state: int = 4, rank: int = 6) -> None:
        super().__init__()
        self.inner, self.state, self.rank = 2 * width, state, rank
        self.norm = RmsNorm(width)
        self.in_proj = nn.Linear(width, 2 * self.inner, bias=False)
        self.conv1d = nn.Conv1d(self.inner, self.inner, 4, groups=self.inner, padding=3)
        self.x_proj = nn.Linear(self.inner, rank + 2 * state, bias=False)
        self.dt_proj = nn.Linear(rank, self.inner)
        self.a_log = nn.Parameter(torch.log(torch.arange(1, state + 1).float()).repeat(self.inner, 1))
        self.skip = nn.Parameter(torch.ones(self.inner))
        self.out_proj = nn.Linear(self.inner, width, bias=False)
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        step = torch.exp(torch.rand(self.inner) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))
        self.dt_proj.bias.data = step + torch.log(-torch.expm1(-step))
        nn.init.kaiming_uniform_(self.out_proj.weight, a=math.sqrt(5))
        self.out_proj.weight.data /= math.sqrt(depth)

    def forward(self, x: Tensor) -> Tensor:
        h, gate = self.in_proj(self.norm(x)).chunk(2, -1)
        h = F.silu(self.conv1d(h.transpose(1, 2))[..., : x.shape[1]]).transpose(1, 2)
        step, into, out_of = self.x_proj(h).split([self.rank, self.state, self.state], -1)
        step = F.softplus(self.dt_proj(step))
        decay = torch.exp(step[..., None] * -torch.exp(self.a_log))
        drive = (step * h)[..., None] * into[:, :, None]
        memory, outputs = torch.zeros_like(drive[:, 0]), []
        for time in range(x.shape[1]):
            memory = decay[:, time] * memory + drive[:, time]
            outputs.append((memory * out_of[:, time, None]).sum(-1))
        scanned = torch.stack(outputs, 1) + h * self.skip
        return x + self.out_proj(scanned * F.silu(gate))


class Mamba(nn.Module):
    def __init__(self, vocabulary: int = 300, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.Sequential(*[MambaBlock(width, depth) for _ in range(depth)])
        self.norm = RmsNorm(width)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        return F.linear(self.norm(self.blocks(self.embedding(ids))), self.embedding.weight)


def mamba_scan() -> Built:
    return Mamba(), (torch.randint(0, 300, (2, 6)),)


# Temporal convolutional network (Bai et al. 2018, arXiv:1803.01271): causal dilated convolutions in residual blocks, normal 0.01
class TemporalBlock(nn.Module):
    def __init__(self, channels: int, out: int, dilation: int) -> None:
        super().__init__()
        self.pad = 2 * dilation
        self.conv1 = nn.Conv1d(channels, out, 3, dilation=dilation)
        self.conv2 = nn.Conv1d(out, out, 3, dilation=dilation)
        self.downsample = nn.Conv1d(channels, out, 1) if channels != out else None
        self.dropout = nn.Dropout(0.2)
        for layer in (self.conv1, self.conv2, self.downsample):
            if layer is not None:
                nn.init.normal_(layer.weight, 0.0, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        h = self.dropout(F.relu(self.conv1(F.pad(x, (self.pad, 0)))))
        h = self.dropout(F.relu(self.conv2(F.pad(h, (self.pad, 0)))))
        return F.relu(h + (x if self.downsample is None else self.downsample(x)))


class Tcn(nn.Module):
    def __init__(self, width: int = 64, classes: int = 10) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*[TemporalBlock(width if index else 1, width, 2**index) for index in range(4)])
        self.head = nn.Linear(width, classes)
        nn.init.normal_(self.head.weight, 0.0, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(x)[:, :, -1])


def tcn() -> Built:
    return Tcn(), (torch.randn(2, 1, 64),)
