"""Small torch networks that are really trained, and their weights as a graph, for measuring how well fresh and trained weights are told apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainaudit.ir.graph import Graph, Layer, Origin, Parameter, Role
from trainaudit.ir.ops import Op
from trainaudit.ir.tensor import ArrayData

_KINDS: Mapping[type[nn.Module], Op] = {
    nn.Linear: Op.LINEAR, nn.Conv1d: Op.CONV, nn.Conv2d: Op.CONV, nn.Embedding: Op.EMBEDDING, nn.BatchNorm1d: Op.BATCH_NORM,
    nn.BatchNorm2d: Op.BATCH_NORM, nn.LayerNorm: Op.LAYER_NORM, nn.LSTM: Op.LSTM, nn.GRU: Op.GRU, nn.RNN: Op.RNN,
}  # fmt: skip
_NORMALIZING = frozenset({Op.BATCH_NORM, Op.LAYER_NORM})
_GATES = {Op.LSTM: 4, Op.GRU: 3, Op.RNN: 1}


def weights_graph(model: nn.Module, dtype: str = "float32") -> Graph:
    """The layers of a module with their parameters, as an ONNX file of it would hold them. How they are connected is left out."""
    layers: list[Layer] = []
    parameters: dict[str, Parameter] = {}
    for path, module in model.named_modules():
        op = _KINDS.get(type(module))
        if op is None:
            continue
        roles: dict[str, str] = {}
        for role, values in _tensors(module, op):
            name = f"{path}.{role.value}"
            fan_in, fan_out, axis = _fans(values, role)
            parameters[name] = Parameter(
                name, values.shape, dtype, role, role not in (Role.RUNNING_MEAN, Role.RUNNING_VARIANCE), (len(layers),),
                _stored(values, dtype), axis, fan_in, fan_out, gates=_GATES.get(op, 1),
            )  # fmt: skip
            roles[role.value] = name
        attributes = {"hidden_size": module.hidden_size} if isinstance(module, nn.RNNBase) else {}
        layers.append(Layer(len(layers), path, op, type(module).__name__, (), (), roles, attributes))
    return Graph(tuple(layers), {}, parameters, (), (), Origin("", "torch", 0))


def _tensors(module: nn.Module, op: Op) -> Iterator[tuple[Role, np.ndarray[Any, Any]]]:
    if isinstance(module, nn.RNNBase):
        yield Role.INPUT_WEIGHT, _array(module.weight_ih_l0)[None]
        yield Role.RECURRENT_WEIGHT, _array(module.weight_hh_l0)[None]
        if module.bias:
            yield Role.BIAS, np.concatenate([_array(module.bias_ih_l0), _array(module.bias_hh_l0)])[None]
        return
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if isinstance(weight, Tensor):
        yield (
            Role.SCALE if op in _NORMALIZING else Role.EMBEDDING if op is Op.EMBEDDING else Role.WEIGHT,
            _array(weight),
        )
    if isinstance(bias, Tensor):
        yield Role.SHIFT if op in _NORMALIZING else Role.BIAS, _array(bias)
    if op is Op.BATCH_NORM and isinstance(module.running_mean, Tensor) and isinstance(module.running_var, Tensor):
        yield Role.RUNNING_MEAN, _array(module.running_mean)
        yield Role.RUNNING_VARIANCE, _array(module.running_var)


def _array(tensor: Any) -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] = tensor.detach().float().numpy().copy()
    return values


def _fans(values: np.ndarray[Any, Any], role: Role) -> tuple[int | None, int | None, int | None]:
    if role in (Role.INPUT_WEIGHT, Role.RECURRENT_WEIGHT):
        return values.shape[2], values.shape[1], 1
    if role is Role.WEIGHT:
        field = math.prod(values.shape[2:])
        return values.shape[1] * field, values.shape[0] * field, 0
    return None, None, None


def _stored(values: np.ndarray[Any, Any], dtype: str) -> ArrayData:
    if dtype == "bfloat16":
        bits = torch.from_numpy(values).bfloat16().view(torch.int16).numpy().view(np.uint16)
        return ArrayData(bits, "bfloat16")
    return ArrayData(values.astype(dtype))


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, time, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, time, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, time, width))
        out: Tensor = x + self.down(nn.functional.gelu(self.up(self.norm2(x))))
        return out


class _Transformer(nn.Module):
    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(96, width), nn.Embedding(24, width)
        self.blocks = nn.Sequential(_Attention(width), _Attention(width))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 96, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.token(x) + self.position(torch.arange(x.shape[1]))
        logits: Tensor = self.head(self.norm(self.blocks(hidden)))
        return logits


class _Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.token = nn.Embedding(96, 32)
        self.cell = kind(32, 64, batch_first=True)  # type: ignore[call-arg, arg-type]
        self.head = nn.Linear(64, 96)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.cell(self.token(x))[0])
        return logits


def _mlp(bias: bool = True) -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 128, bias=bias),
        nn.ReLU(),
        nn.Linear(128, 128, bias=bias),
        nn.ReLU(),
        nn.Linear(128, 10, bias=bias),
    )


def _cnn(normalized: bool) -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width in (16, 32, 64):
        layers.append(nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=not normalized))
        if normalized:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU())
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def _with(model: nn.Module, change: Callable[[Tensor], Any]) -> nn.Module:
    """Weights drawn by `change`, biases zero."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
            change(module.weight.data)
            bias = getattr(module, "bias", None)
            if isinstance(bias, Tensor):
                bias.data.zero_()
    return model


NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], str]] = {
    "mlp, torch's defaults": (_mlp, "vectors"),
    "mlp, xavier-normal and zero biases": (lambda: _with(_mlp(), nn.init.xavier_normal_), "vectors"),
    "mlp without biases, kaiming-normal": (lambda: _with(_mlp(False), nn.init.kaiming_normal_), "vectors"),
    "cnn, torch's defaults": (lambda: _cnn(False), "images"),
    "cnn with BatchNorm, kaiming-normal": (lambda: _with(_cnn(True), nn.init.kaiming_normal_), "images"),
    "transformer, torch's defaults": (_Transformer, "tokens"),
    "transformer, normal-0.02": (lambda: _with(_Transformer(), lambda w: w.normal_(0.0, 0.02)), "tokens"),
    "lstm, torch's defaults": (lambda: _Recurrent(nn.LSTM), "tokens"),
    "gru, torch's defaults": (lambda: _Recurrent(nn.GRU), "tokens"),
}
"""Name → builder and the data that it is trained on."""

OPTIMIZERS: Mapping[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD 0.1": lambda p: torch.optim.SGD(p, 0.1),
    "SGD 0.01, momentum 0.9": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9),
    "Adam 1e-3": lambda p: torch.optim.Adam(p, 1e-3),
    "AdamW 3e-5 (fine-tuning)": lambda p: torch.optim.AdamW(p, 3e-5),
}


def train(model: nn.Module, data: str, optimizer: torch.optim.Optimizer, seed: int) -> Iterator[int]:
    """Train on made-up data that can be learnt; yields the number of steps done."""
    generator = torch.Generator().manual_seed(seed)
    teacher = torch.randn(192, 10, generator=generator)
    step = 0
    while True:
        if data == "tokens":
            start = torch.randint(0, 96, (16, 1), generator=generator)
            tokens = (start + torch.arange(17) * (1 + start % 5)) % 96
            loss = nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        else:
            x = torch.randn(32, 64 if data == "vectors" else 3 * 8 * 8, generator=generator)
            target = (x @ teacher[: x.shape[1]]).argmax(1)
            inputs = x if data == "vectors" else nn.functional.interpolate(x.view(32, 3, 8, 8), scale_factor=2.0)
            loss = nn.functional.cross_entropy(model(inputs), target)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        step += 1
        yield step
