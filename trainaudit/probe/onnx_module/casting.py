"""Operators that change a tensor's type, or make a tensor out of a few numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from trainaudit.probe.onnx_module.values import FLOAT8, Float, Int, Ints, Tensor, UnsupportedError, bounded, type_of


def cast_to(x: Tensor, kind: torch.dtype, saturate: int = 1) -> Tensor:
    """As ONNX casts: towards zero into integers, to the nearest (even) float, and into a float8 clamped where `saturate` is on."""
    if kind in FLOAT8:
        x = x.float()
        limit = torch.finfo(kind).max
        if saturate:
            return x.clamp(-limit, limit).to(kind)
        beyond = limit + limit * torch.finfo(kind).eps / 4  # half of a step above the largest number
        lost = x.abs() > beyond if kind is not torch.float8_e5m2 else torch.isnan(x)
        return torch.where(lost, torch.full_like(x, math.nan), x).to(kind)
    if x.dtype in FLOAT8:
        x = x.float()
    if kind is torch.bool and x.is_floating_point():
        return x != 0
    if x.is_floating_point() and not kind.is_floating_point and kind not in (torch.bool, torch.int64):
        return x.to(torch.int64).to(kind)
    return x.to(kind)


def _cast(input: Tensor, *, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    del round_mode  # only of a float8 that torch lacks here
    return cast_to(input, type_of(to), saturate)


def _cast_like(input: Tensor, target_type: Tensor, *, saturate: int = 1, round_mode: str = "up") -> Tensor:
    del round_mode
    return cast_to(input, target_type.dtype, saturate)


def _bit_cast(input: Tensor, *, to: int) -> Tensor:
    kind = type_of(to)
    if kind.itemsize != input.element_size():
        raise UnsupportedError("reads the bits of numbers of another size")
    return input.view(kind)


def _constant_of_shape(input: Ints, *, value: Tensor | None = None) -> Tensor:
    if value is None:
        return torch.zeros(bounded(input))
    return value.reshape(-1)[0].expand(bounded(input)).clone()


def _eye_like(input: Tensor, *, dtype: int | None = None, k: int = 0) -> Tensor:
    rows, columns = input.shape
    kind = input.dtype if dtype is None else type_of(dtype)
    row = torch.arange(rows, device=input.device)[:, None]
    return (torch.arange(columns, device=input.device)[None] == row + k).to(kind)


def _range(start: Tensor, limit: Tensor, delta: Tensor, *, stash_type: int = 1) -> Tensor:
    del stash_type
    first, end, step = start.item(), limit.item(), delta.item()
    if step == 0:
        raise UnsupportedError("counts in steps of zero")
    count = max(math.ceil((end - first) / step), 0)
    bounded([count])
    if start.dtype.is_floating_point:
        return (torch.arange(count, dtype=torch.float64) * step + first).to(start.dtype)
    return (torch.arange(count) * int(step) + int(first)).to(start.dtype)


def _shape(data: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(list(data.shape)[start:end], dtype=torch.int64)


def _size(data: Tensor) -> Tensor:
    return torch.tensor(data.numel(), dtype=torch.int64)


def _window(terms: tuple[float, ...]) -> Callable[..., Tensor]:
    """Σ terms[k] · cos(2πkn/N), N = size where it is periodic, else size − 1."""

    def operator(size: Int, *, output_datatype: int = 1, periodic: int = 1) -> Tensor:
        bounded([size])
        angle = torch.arange(size, dtype=torch.float64) * (2 * math.pi / max(size if periodic else size - 1, 1))
        return sum((term * torch.cos(k * angle) for k, term in enumerate(terms)), torch.zeros(size)).to(
            type_of(output_datatype)
        )

    return operator


def _mel_weight_matrix(
    num_mel_bins: Int, dft_length: Int, sample_rate: Int, lower_edge_hertz: Float, upper_edge_hertz: Float, *,
    output_datatype: int = 1,
) -> Tensor:  # fmt: skip
    """Triangles on the mel scale, as the operator's own reference computes them (onnx docs/Operators.md, MelWeightMatrix)."""
    lines = dft_length // 2 + 1
    bounded([lines, num_mel_bins])
    low, high = (2595 * math.log10(1 + edge / 700) for edge in (lower_edge_hertz, upper_edge_hertz))
    step = (high - low) / (num_mel_bins + 2)
    hertz = [700 * (10 ** ((index * step + low) / 2595) - 1) for index in range(num_mel_bins + 2)]
    bins = [int((dft_length + 1) * edge // sample_rate) for edge in hertz]
    matrix = torch.zeros(lines, num_mel_bins)
    for index in range(num_mel_bins):
        left, center, right = bins[index : index + 3]
        if center == left:
            matrix[center, index] = 1
        else:
            matrix[left : center + 1, index] = (torch.arange(left, center + 1) - left) / (center - left)
        if right > center:
            matrix[center:right, index] = (right - torch.arange(center, right)) / (right - center)
    return matrix.to(type_of(output_datatype))


def _identity(input: Any) -> Any:
    return input


def _bernoulli(input: Tensor, *, dtype: int | None = None, seed: float | None = None) -> Tensor:
    del seed  # torch's generator rules, so that a run's own seed decides
    return torch.bernoulli(input).to(input.dtype if dtype is None else type_of(dtype))


def _random_like(draw: Callable[[Tensor, float, float], Tensor], first: str, second: str) -> Callable[..., Tensor]:
    def operator(
        input: Tensor, *, dtype: int | None = None, seed: float | None = None, low: float = 0.0, high: float = 1.0,
        mean: float = 0.0, scale: float = 1.0,
    ) -> Tensor:  # fmt: skip
        del seed
        given = {"low": low, "high": high, "mean": mean, "scale": scale}
        kind = input.dtype if dtype is None else type_of(dtype)
        return draw(torch.empty(input.shape, dtype=kind, device=input.device), given[first], given[second])

    return operator


def _random(draw: Callable[[Tensor, float, float], Tensor], first: str, second: str) -> Callable[..., Tensor]:
    like = _random_like(draw, first, second)

    def operator(
        *, shape: Ints, dtype: int = 1, seed: float | None = None, low: float = 0.0, high: float = 1.0,
        mean: float = 0.0, scale: float = 1.0,
    ) -> Tensor:  # fmt: skip
        empty = torch.empty(bounded(shape), dtype=type_of(dtype))
        result: Tensor = like(empty, low=low, high=high, mean=mean, scale=scale, seed=seed)
        return result

    return operator


def _multinomial(input: Tensor, *, dtype: int = 6, sample_size: int = 1, seed: float | None = None) -> Tensor:
    del seed
    return torch.multinomial(torch.softmax(input, -1), sample_size, replacement=True).to(type_of(dtype))


def _uniform(empty: Tensor, low: float, high: float) -> Tensor:
    return empty.uniform_(low, high)


def _normal(empty: Tensor, mean: float, scale: float) -> Tensor:
    return empty.normal_(mean, scale)


OPERATORS: dict[str, Callable[..., Any]] = {
    "Cast": _cast, "CastLike": _cast_like, "BitCast": _bit_cast, "ConstantOfShape": _constant_of_shape, "EyeLike": _eye_like,
    "Range": _range, "Shape": _shape, "Size": _size, "Identity": _identity, "Bernoulli": _bernoulli, "Multinomial": _multinomial,
    "RandomUniform": _random(_uniform, "low", "high"), "RandomNormal": _random(_normal, "mean", "scale"),
    "RandomUniformLike": _random_like(_uniform, "low", "high"), "RandomNormalLike": _random_like(_normal, "mean", "scale"),
    "HannWindow": _window((0.5, -0.5)), "HammingWindow": _window((25 / 46, -21 / 46)),
    "BlackmanWindow": _window((0.42, -0.5, 0.08)), "MelWeightMatrix": _mel_weight_matrix,
}  # fmt: skip

RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomUniform", "RandomNormal", "RandomUniformLike", "RandomNormalLike"}
)
"""Operators that draw numbers: no two runtimes agree on them."""


def settled(op: str, arguments: list[Any], keywords: Mapping[str, Any]) -> Tensor:
    """What a drawing operator gives while a module is held against another runtime: the middle of a uniform range, half of a standard
    deviation above a mean, whether a chance is above a half (see `inference_form`)."""
    kind = keywords.get("dtype")
    given = arguments[0] if arguments else torch.empty(bounded(keywords["shape"]))
    dtype = type_of(kind) if kind else given.dtype
    if op == "Bernoulli":
        return (given > 0.5).to(dtype)
    return torch.full(given.shape, middle(op, keywords), dtype=dtype)


def middle(op: str, keywords: Mapping[str, Any]) -> float:
    """The number that stands for a draw in `settled`."""
    if op.startswith("RandomNormal"):
        return float(keywords.get("mean", 0.0)) + float(keywords.get("scale", 1.0)) / 2
    return (float(keywords.get("low", 0.0)) + float(keywords.get("high", 1.0))) / 2
