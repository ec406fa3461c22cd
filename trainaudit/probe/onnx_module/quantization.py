"""Quantization. A QuantizeLinear whose result goes straight into a DequantizeLinear is straight-through (see `FakeQuantize` in `planner`):
the gradient passes where the value is inside the range, as in quantization-aware training (Jacob et al. 2018, arXiv:1712.05877).
Everything else here gives integers, through which no gradient flows: stored integer weights are not trained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from trainaudit.probe.onnx_module.casting import cast_to
from trainaudit.probe.onnx_module.linear import conv
from trainaudit.probe.onnx_module.values import FLOAT8, Ints, Tensor, UnsupportedError, axis_of, type_of


def _along(parameter: Tensor, x: Tensor, axis: int, block_size: int) -> Tensor:
    """A scale or zero point so that it broadcasts against `x`: one, one per index of the axis, or one per block."""
    if parameter.numel() == 1 and not block_size:
        return parameter.reshape(())
    axis = axis_of(axis, x.dim())
    if block_size:
        return parameter.repeat_interleave(block_size, axis).narrow(axis, 0, x.shape[axis])
    if parameter.dim() > 1:
        return parameter
    shape = [1] * x.dim()
    shape[axis] = -1
    return parameter.reshape(shape)


def _limits(kind: torch.dtype) -> tuple[int, int]:
    info = torch.iinfo(kind)
    return info.min, info.max


def _quantized(x: Tensor, scale: Tensor, zero: Tensor | None, kind: torch.dtype, axis: int, block_size: int) -> Tensor:
    """round(x / scale) + zero point, clamped, still as floats."""
    low, high = _limits(kind)
    ratio = (x.float() / _along(scale, x, axis, block_size).float()).round()
    if zero is not None:
        ratio = ratio + _along(zero.float(), x, axis, block_size)
    return ratio.clamp(low, high)


def _quantize(
    x: Tensor, y_scale: Tensor, y_zero_point: Tensor | None = None, *, axis: int = 1, block_size: int = 0, output_dtype: int = 0,
    precision: int = 0, saturate: int = 1,
) -> Tensor:  # fmt: skip
    if precision not in (0, 1):
        raise UnsupportedError("divides in a precision of its own")
    kind = y_zero_point.dtype if y_zero_point is not None else type_of(output_dtype) if output_dtype else torch.uint8
    if kind in FLOAT8:
        shift = _along(y_zero_point.float(), x, axis, block_size) if y_zero_point is not None else 0.0
        return cast_to(x.float() / _along(y_scale, x, axis, block_size).float() + shift, kind, saturate)
    return _quantized(x, y_scale, y_zero_point, kind, axis, block_size).to(torch.int64).to(kind)


def _dequantize(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Tensor:
    kind = type_of(output_dtype) if output_dtype else x_scale.dtype
    value = x.float()
    if x_zero_point is not None:
        value = value - _along(x_zero_point.float(), x, axis, block_size)
    return (value * _along(x_scale, x, axis, block_size).float()).to(kind)


def fake_quantize(
    x: Tensor, y_scale: Tensor, y_zero_point: Tensor | None = None, *, axis: int = 1, block_size: int = 0, output_dtype: int = 0,
    precision: int = 0, saturate: int = 1,
) -> Tensor:  # fmt: skip
    """Dequantize(Quantize(x)); the gradient is one inside the range and zero outside."""
    given = {"axis": axis, "block_size": block_size}
    with torch.no_grad():
        stored = _quantize(
            x, y_scale, y_zero_point, **given, output_dtype=output_dtype, precision=precision, saturate=saturate
        )
        result = _dequantize(stored, y_scale, y_zero_point, **given)
        if stored.dtype in FLOAT8:
            inside = torch.ones_like(x, dtype=torch.bool)
        else:
            low, high = _limits(stored.dtype)
            inside = (stored > low) & (stored < high)
    passed = torch.where(inside, x, x.detach())
    return result.to(x.dtype) + (passed - passed.detach())


def _dynamic_quantize(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    low, high = x.detach().min().clamp(max=0), x.detach().max().clamp(min=0)
    scale = (high - low) / 255
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero = (-low / scale).round().clamp(0, 255).to(torch.uint8)
    return _quantize(x, scale, zero), scale, zero


def _shifted(x: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    """x − zero point, as int32 in float64 (exact up to 2^53)."""
    value = x.double()
    if zero is None:
        return value
    return value - (zero.double() if zero.numel() == 1 or zero.dim() > 1 else _along(zero.double(), x, axis, 0))


def _matmul_integer(
    a: Tensor, b: Tensor, a_zero_point: Tensor | None = None, b_zero_point: Tensor | None = None
) -> Tensor:
    product = torch.matmul(_shifted(a, a_zero_point, -2), _shifted(b, b_zero_point, -1))
    return product.to(torch.int64).to(torch.int32)


def _conv_integer(
    x: Tensor, w: Tensor, x_zero_point: Tensor | None = None, w_zero_point: Tensor | None = None, *, auto_pad: str = "NOTSET",
    dilations: Ints | None = None, group: int = 1, kernel_shape: Ints | None = None, pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:  # fmt: skip
    del kernel_shape
    result = conv(
        _shifted(x, x_zero_point, 1), _shifted(w, w_zero_point, 0), None, auto_pad=auto_pad, dilations=dilations, group=group,
        pads=pads, strides=strides,
    )  # fmt: skip
    return result.to(torch.int64).to(torch.int32)


def _qlinear_matmul(
    a: Tensor, a_scale: Tensor, a_zero_point: Tensor, b: Tensor, b_scale: Tensor, b_zero_point: Tensor, y_scale: Tensor,
    y_zero_point: Tensor,
) -> Tensor:  # fmt: skip
    value = torch.matmul(
        _dequantize(a, a_scale, a_zero_point, axis=-2).float(), _dequantize(b, b_scale, b_zero_point, axis=-1).float()
    )
    return _quantize(value, y_scale, y_zero_point, axis=-2)


def _qlinear_conv(
    x: Tensor, x_scale: Tensor, x_zero_point: Tensor, w: Tensor, w_scale: Tensor, w_zero_point: Tensor, y_scale: Tensor,
    y_zero_point: Tensor, b: Tensor | None = None, *, auto_pad: str = "NOTSET", dilations: Ints | None = None, group: int = 1,
    kernel_shape: Ints | None = None, pads: Ints | None = None, strides: Ints | None = None,
) -> Tensor:  # fmt: skip
    del kernel_shape
    bias = b.float() * x_scale.reshape(()) * w_scale.reshape(-1) if b is not None else None
    value = conv(
        _dequantize(x, x_scale, x_zero_point), _dequantize(w, w_scale, w_zero_point, axis=0), bias, auto_pad=auto_pad,
        dilations=dilations, group=group, pads=pads, strides=strides,
    )  # fmt: skip
    return _quantize(value, y_scale, y_zero_point)


OPERATORS: dict[str, Callable[..., Any]] = {
    "QuantizeLinear": _quantize, "DequantizeLinear": _dequantize, "FakeQuantize": fake_quantize,
    "DynamicQuantizeLinear": _dynamic_quantize, "MatMulInteger": _matmul_integer, "ConvInteger": _conv_integer,
    "QLinearMatMul": _qlinear_matmul, "QLinearConv": _qlinear_conv,
}  # fmt: skip
