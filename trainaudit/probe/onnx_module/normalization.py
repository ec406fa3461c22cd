"""Normalization and dropout, in the form of `Module.training`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from trainaudit.probe.onnx_module.values import Ints, Tensor, UnsupportedError, axis_of


def _batch_norm(
    x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, *, epsilon: float = 1e-5, momentum: float = 0.9,
    training_mode: int = 0, spatial: int = 1, is_test: int = 1, consumed_inputs: Ints | None = None, outputs: int, tracked: bool, training: bool,
) -> Any:  # fmt: skip
    """In training, statistics of the batch, and the running ones updated in place as torch does (momentum 1 − ONNX's; unbiased variance).

    Where the node gives the running statistics out, they are computed as ONNX says instead (biased variance) and nothing is updated.
    """
    del consumed_inputs, training_mode, is_test
    if not spatial:
        raise UnsupportedError("normalizes each place by itself")
    if not training:
        kind = x.dtype
        y = F.batch_norm(
            x.to(mean.dtype), mean, variance, scale.to(mean.dtype), bias.to(mean.dtype), False, 0.0, epsilon
        )
        return (y.to(kind), mean, variance) if outputs > 1 else y.to(kind)
    if outputs == 1:
        now, spread = (mean, variance) if tracked else (None, None)
        return F.batch_norm(x, now, spread, scale, bias, True, 1.0 - momentum, epsilon)
    y = F.batch_norm(x, None, None, scale, bias, True, 0.0, epsilon)
    axes = [axis for axis in range(x.dim()) if axis != 1]
    now, spread = x.detach().mean(axes), x.detach().var(axes, correction=0)
    return y, mean * momentum + now * (1 - momentum), variance * momentum + spread * (1 - momentum)


def _instance_norm(input: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    if input.dim() > 2 and input.shape[2:].numel() > 1:
        return F.instance_norm(input, None, None, scale, bias, True, 0.0, epsilon)
    axes = list(range(2, input.dim()))
    shape = [1, -1, *[1] * len(axes)]
    centered = input - input.mean(axes, True)
    return centered * torch.rsqrt(centered.square().mean(axes, True) + epsilon) * scale.reshape(shape) + bias.reshape(
        shape
    )


def _layer_norm(
    x: Tensor, scale: Tensor, bias: Tensor | None = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1,
    outputs: int,
) -> Any:  # fmt: skip
    axis = axis_of(axis, x.dim())
    shape = x.shape[axis:]
    if outputs == 1 and scale.shape == shape and (bias is None or bias.shape == shape):
        return F.layer_norm(x, shape, scale, bias, epsilon)
    axes = list(range(axis, x.dim()))
    stash = x.float() if stash_type == 1 else x
    mean = stash.mean(axes, True)
    centered = stash - mean
    inverse = torch.rsqrt(centered.square().mean(axes, True) + epsilon)
    y = (centered * inverse).to(x.dtype) * scale
    y = y if bias is None else y + bias
    return (y, mean, inverse) if outputs > 1 else y


def _rms_norm(x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1) -> Tensor:
    axes = list(range(axis_of(axis, x.dim()), x.dim()))
    stash = x.float() if stash_type == 1 else x
    return (stash * torch.rsqrt(stash.square().mean(axes, True) + epsilon)).to(x.dtype) * scale


def _group_norm(
    x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1, opset: int
) -> Tensor:
    del stash_type
    if opset < 21:  # one weight per group
        each = x.shape[1] // num_groups
        scale, bias = scale.repeat_interleave(each), bias.repeat_interleave(each)
    return F.group_norm(x, num_groups, scale, bias, epsilon)


def _mean_variance_norm(x: Tensor, *, axes: Ints | None = None) -> Tensor:
    axes = [0, 2, 3] if axes is None else axes
    centered = x - x.mean(axes, True)
    return centered / (centered.square().mean(axes, True).sqrt() + 1e-9)


def _lp_norm(input: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    length = torch.linalg.vector_norm(input, p, axis, True)
    return torch.where(length == 0, torch.zeros_like(input), input / torch.where(length == 0, 1, length))


def _lrn(x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Tensor:
    around = [0, 0] * (x.dim() - 2) + [(size - 1) // 2, size // 2]
    near = F.pad(x.square(), around).unfold(1, size, 1).sum(-1)
    return x / (bias + alpha / size * near) ** beta


def _dropout(
    data: Tensor, ratio: Tensor | float | None = None, training_mode: Tensor | None = None, *, seed: int | None = None,
    is_test: int = 0, outputs: int, training: bool,
) -> Any:  # fmt: skip
    """Drops in training. `training_mode` is what an exporter froze; `Module.training` decides, as it does for the module that was exported."""
    del seed, training_mode, is_test
    share = 0.5 if ratio is None else float(ratio)
    if outputs == 1:
        return F.dropout(data, share, training) if share else data
    if not training or not share:
        return data, torch.ones_like(data, dtype=torch.bool)
    mask = torch.rand_like(data) >= share
    return data * mask / (1 - share), mask


OPERATORS: dict[str, Callable[..., Any]] = {
    "BatchNormalization": _batch_norm, "InstanceNormalization": _instance_norm, "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm, "SimplifiedLayerNormalization": _rms_norm, "GroupNormalization": _group_norm,
    "MeanVarianceNormalization": _mean_variance_norm, "LpNormalization": _lp_norm, "LRN": _lrn, "Dropout": _dropout,
}  # fmt: skip
