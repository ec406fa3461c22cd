"""Healthy transformers with RMSNorm or adaptive LayerNorm, written from their papers at reduced width, at their own published initialization. Needs torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Built = tuple[nn.Module, tuple[Tensor, ...]]


# LLaMA (Touvron et al. 2023, arXiv:2302.13971): RMSNorm before each branch, SwiGLU, rotary positions; normal 0.02
class RmsNorm(nn.Module):
    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)


def _rotated(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    angles = torch.arange(x.shape[-2])[:, None] * 10000.0 ** (-torch.arange(half) / half)[None]
    cos, sin = torch.cos(angles), torch.sin(angles)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class LlamaBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, hidden = heads, 8 * width // 3
        self.attention_norm, self.ffn_norm = RmsNorm(width), RmsNorm(width)
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.w1, self.w3 = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.w2 = nn.Linear(hidden, width, bias=False)

    def attend(self, x: Tensor) -> Tensor:
        split = (x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads)
        q, k, v = (layer(x).reshape(split).transpose(1, 2) for layer in (self.wq, self.wk, self.wv))
        scores = _rotated(q) @ _rotated(k).transpose(-1, -2) / math.sqrt(split[-1])
        scores = scores + torch.triu(torch.full((x.shape[1], x.shape[1]), float("-inf")), 1)
        return self.wo((torch.softmax(scores, -1) @ v).transpose(1, 2).flatten(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.attention_norm(x))
        h = self.ffn_norm(x)
        return x + self.w2(F.silu(self.w1(h)) * self.w3(h))


class Llama(nn.Module):
    def __init__(self, vocabulary: int = 300, width: int = 96, depth: int = 4) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(vocabulary, width)
        self.layers = nn.Sequential(*[LlamaBlock(width, 4) for _ in range(depth)])
        self.norm, self.output = RmsNorm(width), nn.Linear(width, vocabulary, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        return self.output(self.norm(self.layers(self.tok_embeddings(ids))))


def llama_from_paper() -> Built:
    return Llama(), (torch.randint(0, 300, (2, 12)),)


# T5 (Raffel et al. 2019, arXiv:1910.10683): encoder and decoder, relative bias, unscaled attention because queries start smaller
class T5Attention(nn.Module):
    def __init__(self, width: int, heads: int, has_bias: bool, is_causal: bool) -> None:
        super().__init__()
        self.heads, self.is_causal, key_width = heads, is_causal, width // heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.relative_bias = nn.Embedding(32, heads) if has_bias else None
        nn.init.normal_(self.q.weight, std=(width * key_width) ** -0.5)
        for layer in (self.k, self.v, self.o):
            nn.init.normal_(layer.weight, std=width**-0.5)
        if self.relative_bias is not None:
            nn.init.normal_(self.relative_bias.weight, std=width**-0.5)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        def split(h: Tensor) -> Tensor:
            return h.reshape(h.shape[0], h.shape[1], self.heads, -1).transpose(1, 2)

        scores = split(self.q(x)) @ split(self.k(memory)).transpose(-1, -2)
        if self.relative_bias is not None:
            distance = torch.arange(memory.shape[1])[None] - torch.arange(x.shape[1])[:, None]
            scores = scores + self.relative_bias((distance + 16).clamp(0, 31)).permute(2, 0, 1)[None]
        if self.is_causal:
            scores = scores + torch.triu(torch.full((x.shape[1], x.shape[1]), torch.finfo(torch.float32).min), 1)
        return self.o((torch.softmax(scores, -1) @ split(self.v(memory))).transpose(1, 2).flatten(2))


class T5Layer(nn.Module):
    def __init__(self, width: int, heads: int, is_decoder: bool, has_bias: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = RmsNorm(width), RmsNorm(width)
        self.attention = T5Attention(width, heads, has_bias, is_decoder)
        self.wi, self.wo = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)
        self.cross = T5Attention(width, heads, False, False) if is_decoder else None
        self.cross_norm = RmsNorm(width) if is_decoder else None
        self.dropout = nn.Dropout(0.1)
        nn.init.normal_(self.wi.weight, std=width**-0.5)
        nn.init.normal_(self.wo.weight, std=(4 * width) ** -0.5)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        h = self.norm1(x)
        x = x + self.dropout(self.attention(h, h))
        if memory is not None and self.cross is not None and self.cross_norm is not None:
            x = x + self.dropout(self.cross(self.cross_norm(x), memory))
        return x + self.dropout(self.wo(self.dropout(F.relu(self.wi(self.norm2(x))))))


class T5(nn.Module):
    def __init__(self, vocabulary: int = 300, width: int = 96, depth: int = 2) -> None:
        super().__init__()
        self.width, self.shared = width, nn.Embedding(vocabulary, width)
        self.encoder = nn.ModuleList([T5Layer(width, 4, False, not index) for index in range(depth)])
        self.decoder = nn.ModuleList([T5Layer(width, 4, True, not index) for index in range(depth)])
        self.encoder_norm, self.decoder_norm = RmsNorm(width), RmsNorm(width)

    def forward(self, ids: Tensor, target: Tensor) -> Tensor:
        memory, x = self.shared(ids), self.shared(target)
        for layer in self.encoder:
            memory = layer(memory)
        memory = self.encoder_norm(memory)
        for layer in self.decoder:
            x = layer(x, memory)
        return F.linear(self.decoder_norm(x) * self.width**-0.5, self.shared.weight)


def t5() -> Built:
    return T5(), (torch.randint(0, 300, (2, 12)), torch.randint(0, 300, (2, 8)))


# DiT (Peebles & Xie 2022, arXiv:2212.09748): adaLN-Zero; Glorot uniform, embeddings normal 0.02, modulations and the last layer zero
class DiTBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulation = nn.Linear(width, 6 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        batch, length, width = x.shape
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(F.silu(condition))[:, None].chunk(6, -1)
        h = self.qkv(self.norm1(x) * (1 + scale1) + shift1)
        q, k, v = h.reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        x = x + gate1 * self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width))
        h = self.norm2(x) * (1 + scale2) + shift2
        return x + gate2 * self.fc2(F.gelu(self.fc1(h), approximate="tanh"))


class DiT(nn.Module):
    def __init__(self, width: int = 96, depth: int = 4) -> None:
        super().__init__()
        self.patches, self.labels = nn.Conv2d(4, width, 2, 2), nn.Embedding(11, width)
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.positions = nn.Parameter(torch.zeros(1, 64, width), requires_grad=False)
        self.blocks = nn.ModuleList([DiTBlock(width, 4) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulation, self.final = nn.Linear(width, 2 * width), nn.Linear(width, 2 * 2 * 4)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                nn.init.xavier_uniform_(module.weight.flatten(1))
                nn.init.zeros_(module.bias)
        angles = torch.arange(64)[:, None] * 10000.0 ** (-torch.arange(width // 2) / (width // 2))[None]
        self.positions.data[0] = torch.cat([torch.sin(angles), torch.cos(angles)], 1)
        for layer in (self.labels, self.time[0], self.time[2]):
            nn.init.normal_(layer.weight, std=0.02)
        for layer in (*(block.modulation for block in self.blocks), self.modulation, self.final):
            nn.init.zeros_(layer.weight)

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        angles = t.float()[:, None] * torch.exp(torch.arange(32) * (-math.log(10000.0) / 32))[None]
        condition = self.time(torch.cat([torch.cos(angles), torch.sin(angles)], 1)) + self.labels(label)
        h = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            h = block(h, condition)
        shift, scale = self.modulation(F.silu(condition))[:, None].chunk(2, -1)
        h = self.final(self.norm(h) * (1 + scale) + shift).reshape(-1, 8, 8, 2, 2, 4)
        return h.permute(0, 5, 1, 3, 2, 4).reshape(-1, 4, 16, 16)


def dit() -> Built:
    return DiT(), (torch.randn(2, 4, 16, 16), torch.randint(0, 1000, (2,)), torch.randint(0, 11, (2,)))
