"""The networks and initializations of `benchmarks.signal`. Needs torch.

Every step is a module of its own (residual additions, attention, concatenations), so that its output has a name both in torch and in the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

VOCABULARY = 96


@dataclass(frozen=True)
class Network:
    """`build` makes the module, `shape` is one sample's; `tokens` says that the input is whole numbers below `VOCABULARY`."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    tokens: bool = False
    batch: int = 64

    def inputs(self, batch: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
        if self.tokens:
            return torch.randint(0, VOCABULARY, (batch, *self.shape), generator=generator)
        return torch.randn(batch, *self.shape, generator=generator, dtype=dtype)


class Sum(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Product(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x * y


class Join(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([x, y], self.dim)


class Swap(nn.Module):
    """Tokens and channels change places."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class Pick(nn.Module):
    """One token of the sequence."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.index]


class Position(nn.Module):
    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(0.02 * torch.randn(1, length, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


class ClassToken(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)


class Attend(nn.Module):
    def __init__(self, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        batch, length, width = query.shape
        parts = (x.view(batch, length, self.heads, width // self.heads).transpose(1, 2) for x in (query, key, value))
        out = functional.scaled_dot_product_attention(*parts, is_causal=self.causal)
        return out.transpose(1, 2).reshape(batch, length, width)


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int = 4, causal: bool = False) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.attend = Attend(heads, causal)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.attend(self.query(x), self.key(x), self.value(x)))
        return out


class RootMeanSquare(nn.Module):
    """RMSNorm (Zhang & Sennrich 2019), written out: the older exporter has no operator for torch's own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight


class GatedUnit(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(width, 2 * width), nn.Linear(width, 2 * width)
        self.act, self.product, self.down = nn.SiLU(), Product(), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.product(self.act(self.gate(x)), self.up(x)))
        return out


def feed_forward(width: int, inner: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))


class Residual(nn.Module):
    """x + f(norm(x)), or norm(x + f(x)) where `post`."""

    def __init__(self, inner: nn.Module, norm: nn.Module, post: bool = False) -> None:
        super().__init__()
        self.inner, self.norm, self.post, self.sum = inner, norm, post, Sum()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.sum(x, self.inner(x))) if self.post else self.sum(x, self.inner(self.norm(x)))
        return out


def encoder(width: int = 64, blocks: int = 6, length: int = 16, *, post: bool) -> nn.Module:
    layers: list[nn.Module] = [nn.Embedding(VOCABULARY, width), Position(length, width)]
    for _ in range(blocks):
        layers.append(Residual(SelfAttention(width), nn.LayerNorm(width), post))
        layers.append(Residual(feed_forward(width, 4 * width), nn.LayerNorm(width), post))
    if not post:
        layers.append(nn.LayerNorm(width))
    return nn.Sequential(*layers, nn.Linear(width, VOCABULARY))


def decoder(width: int = 64, blocks: int = 4) -> nn.Module:
    layers: list[nn.Module] = [nn.Embedding(VOCABULARY, width)]
    for _ in range(blocks):
        layers.append(Residual(SelfAttention(width, causal=True), RootMeanSquare(width)))
        layers.append(Residual(GatedUnit(width), RootMeanSquare(width)))
    return nn.Sequential(*layers, RootMeanSquare(width), nn.Linear(width, VOCABULARY))


def vit(width: int = 64, blocks: int = 4) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 4), nn.Flatten(2), Swap(), ClassToken(width), Position(17, width)]
    for _ in range(blocks):
        layers.append(Residual(SelfAttention(width), nn.LayerNorm(width)))
        layers.append(Residual(feed_forward(width, 4 * width), nn.LayerNorm(width)))
    return nn.Sequential(*layers, nn.LayerNorm(width), Pick(0), nn.Linear(width, 10))


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def mixer(width: int = 64, blocks: int = 4) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 4), nn.Flatten(2), Swap()]
    for _ in range(blocks):
        layers.append(Residual(nn.Sequential(Swap(), feed_forward(16, 64), Swap()), nn.LayerNorm(width)))
        layers.append(Residual(feed_forward(width, 2 * width), nn.LayerNorm(width)))
    return nn.Sequential(*layers, nn.LayerNorm(width), Mean(), nn.Linear(width, 10))


class First(nn.Module):
    """A recurrent layer's sequence, without its last state."""

    def __init__(self, cell: nn.RNNBase) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cell(x)[0]
        return out


def recurrent(kind: type[nn.RNNBase], width: int = 64) -> nn.Module:
    def cell() -> nn.Module:
        return First(kind(width, width, batch_first=True))  # type: ignore[call-arg, arg-type]

    return nn.Sequential(nn.Embedding(VOCABULARY, width), cell(), cell(), Pick(-1), nn.Linear(width, 10))


def mlp(activation: Callable[[], nn.Module], width: int, depth: int, norm: type[nn.Module] | None = None) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), *([] if norm is None else [norm(width)]), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def _convolution(inside: int, out: int, kernel: int, stride: int, norm: bool, groups: int = 1) -> list[nn.Module]:
    layer = nn.Conv2d(inside, out, kernel, stride, kernel // 2, bias=not norm, groups=groups)
    return [layer, nn.BatchNorm2d(out)] if norm else [layer]


def plain_cnn(norm: bool) -> nn.Module:
    layers: list[nn.Module] = []
    for index, (inside, out) in enumerate(pairwise((3, 64, 64, 64, 96, 96, 128))):
        layers += [*_convolution(inside, out, 3, 2 if index == 3 else 1, norm), nn.ReLU()]
        if index == 1:
            layers.append(nn.MaxPool2d(2))
        if index == 4:
            layers.append(nn.AvgPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


class BasicBlock(nn.Module):
    def __init__(self, inside: int, out: int, stride: int, norm: bool) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *_convolution(inside, out, 3, stride, norm), nn.ReLU(), *_convolution(out, out, 3, 1, norm)
        )
        changes = stride != 1 or inside != out
        self.skip = nn.Sequential(*_convolution(inside, out, 1, stride, norm)) if changes else nn.Sequential()
        self.sum, self.act = Sum(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.sum(self.branch(x), self.skip(x)))
        return out


def residual_cnn(norm: bool) -> nn.Module:
    blocks = [
        BasicBlock(inside, out, stride, norm)
        for inside, out, stride in ((64, 64, 1), (64, 64, 1), (64, 96, 2), (96, 96, 1), (96, 128, 2), (128, 128, 1))
    ]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))
    return nn.Sequential(*_convolution(3, 64, 3, 1, norm), nn.ReLU(), *blocks, *head)


class Excitation(nn.Module):
    """Squeeze and excitation (Hu et al. 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 16, 1), nn.ReLU(), nn.Conv2d(16, width, 1), nn.Sigmoid()
        )
        self.product = Product()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.product(x, self.gate(x))
        return out


class Inverted(nn.Module):
    """Inverted residual with depthwise convolution and excitation (Howard et al. 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *_convolution(width, 2 * width, 1, 1, True), nn.Hardswish(),
            *_convolution(2 * width, 2 * width, 3, 1, True, 2 * width), nn.Hardswish(),
            Excitation(2 * width), *_convolution(2 * width, width, 1, 1, True),
        )  # fmt: skip
        self.sum = Sum()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.sum(x, self.branch(x))
        return out


def mobile() -> nn.Module:
    stem = (*_convolution(3, 64, 3, 2, True), nn.Hardswish())
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 10))
    return nn.Sequential(*stem, Inverted(64), Inverted(64), Inverted(64), *head)


class UNet(nn.Module):
    def __init__(self, norm: bool) -> None:
        super().__init__()

        def pair(inside: int, out: int) -> nn.Module:
            first, second = _convolution(inside, out, 3, 1, norm), _convolution(out, out, 3, 1, norm)
            return nn.Sequential(*first, nn.ReLU(), *second, nn.ReLU())

        self.down1, self.down2, self.middle = pair(3, 64), pair(64, 96), pair(96, 128)
        self.pool1, self.pool2 = nn.MaxPool2d(2), nn.MaxPool2d(2)
        self.up2, self.up1 = nn.ConvTranspose2d(128, 96, 2, 2), nn.ConvTranspose2d(96, 64, 2, 2)
        self.join2, self.join1 = Join(1), Join(1)
        self.merge2, self.merge1 = pair(192, 96), pair(128, 64)
        self.head = nn.Conv2d(64, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.down1(x)
        half = self.down2(self.pool1(wide))
        low = self.middle(self.pool2(half))
        half = self.merge2(self.join2(half, self.up2(low)))
        out: Tensor = self.head(self.merge1(self.join1(wide, self.up1(half))))
        return out


ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(0.1), "elu": nn.ELU, "selu": nn.SELU, "gelu": nn.GELU, "silu": nn.SiLU,
    "mish": nn.Mish, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "softplus": nn.Softplus, "hardswish": nn.Hardswish,
    "relu6": nn.ReLU6,
}  # fmt: skip


def _mlps() -> dict[str, Network]:
    found: dict[str, Network] = {}
    for name, activation in ACTIVATIONS.items():
        for width, depth in ((64, 10), (256, 20)):
            found[f"mlp {name} {width}×{depth}"] = Network(
                lambda a=activation, w=width, d=depth: mlp(a, w, d),  # type: ignore[misc]
                (width,), batch=256,
            )  # fmt: skip
    for name, norm in (("batch-norm", nn.BatchNorm1d), ("layer-norm", nn.LayerNorm)):
        found[f"mlp relu {name} 64×15"] = Network(
            lambda n=norm: mlp(nn.ReLU, 64, 15, n),  # type: ignore[misc]
            (64,), batch=256,
        )  # fmt: skip
    return found


_IMAGE = (3, 16, 16)

NETWORKS: Mapping[str, Network] = {
    **_mlps(),
    "plain cnn": Network(lambda: plain_cnn(False), _IMAGE, batch=16),
    "plain cnn, batch-norm": Network(lambda: plain_cnn(True), _IMAGE, batch=16),
    "residual cnn": Network(lambda: residual_cnn(False), _IMAGE, batch=16),
    "residual cnn, batch-norm": Network(lambda: residual_cnn(True), _IMAGE, batch=16),
    "mobile cnn, excitation": Network(mobile, _IMAGE, batch=16),
    "u-net": Network(lambda: UNet(False), _IMAGE, batch=16),
    "u-net, batch-norm": Network(lambda: UNet(True), _IMAGE, batch=16),
    "transformer, pre-norm": Network(lambda: encoder(post=False), (16,), tokens=True, batch=32),
    "transformer, post-norm": Network(lambda: encoder(post=True), (16,), tokens=True, batch=32),
    "decoder, rms-norm, swiglu": Network(decoder, (16,), tokens=True, batch=32),
    "vit": Network(vit, _IMAGE, batch=32),
    "mixer": Network(mixer, _IMAGE, batch=32),
    "lstm": Network(lambda: recurrent(nn.LSTM), (16,), tokens=True),
    "gru": Network(lambda: recurrent(nn.GRU), (16,), tokens=True),
    "rnn": Network(lambda: recurrent(nn.RNN), (16,), tokens=True),
}


def _weights(draw: Callable[[Tensor], object]) -> Callable[[nn.Module], None]:
    """Every weight matrix and kernel drawn by `draw`, every bias zero; embeddings keep torch's N(0, 1)."""

    def initialize(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.RNNBase):
                for name, parameter in module.named_parameters(recurse=False):
                    if "bias" in name:
                        nn.init.zeros_(parameter)
                    else:
                        draw(parameter)

    return initialize


def _large(weight: Tensor) -> None:
    nn.init.kaiming_normal_(weight, nonlinearity="relu").mul_(3.0)


def _small(weight: Tensor) -> None:
    weight.normal_(0.0, 0.01)


INITIALIZATIONS: Mapping[str, Callable[[nn.Module], object]] = {
    "default": lambda _model: None,
    "he": _weights(lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu")),
    "glorot": _weights(nn.init.xavier_normal_),
    "small": _weights(_small),
    "large": _weights(_large),
    "orthogonal": _weights(nn.init.orthogonal_),
}


def make(network: Network, initialization: str, seed: int) -> nn.Module:
    """The module with its weights drawn, in training mode."""
    torch.manual_seed(seed)
    model = network.build()
    with torch.no_grad():
        INITIALIZATIONS[initialization](model)
    return model.train()
