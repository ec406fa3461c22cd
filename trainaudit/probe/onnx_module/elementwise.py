"""Operators that work on each element by itself: arithmetic, comparison, logic and activation functions."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 -- as everybody calls it

from trainaudit.probe.onnx_module.values import POORLY_SUPPORTED, Number, Tensor, UnsupportedError, axis_of, wide

Operator = Callable[..., Any]


def _binary(compute: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """An operator whose result has its operands' type."""

    def operator(a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
        if broadcast and axis is not None:  # opset 6: the second operand's axes start at this one of the first
            b = b.reshape(*b.shape, *[1] * (a.dim() - axis_of(axis, a.dim()) - b.dim()))
        if a.dtype in POORLY_SUPPORTED:
            return compute(wide(a), wide(b)).to(a.dtype)
        return compute(a, b)

    return operator


def _comparison(compute: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    def operator(a: Tensor, b: Tensor) -> Tensor:
        return compute(wide(a), wide(b))

    return operator


def _unary(compute: Callable[[Tensor], Tensor]) -> Operator:
    def operator(x: Tensor) -> Tensor:
        return compute(x) if x.dtype not in POORLY_SUPPORTED else compute(wide(x)).to(x.dtype)

    return operator


def _variadic(compute: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    def operator(*terms: Tensor) -> Tensor:
        return reduce(compute, map(wide, terms)).to(terms[0].dtype)

    return operator


def _mean(*terms: Tensor) -> Tensor:
    return reduce(torch.add, terms) / len(terms)


def _div(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() or a.is_complex() else torch.div(a, b, rounding_mode="trunc")


def _pow(x: Tensor, exponent: Tensor) -> Tensor:
    if x.is_floating_point():
        return torch.pow(x, exponent).to(x.dtype)
    if exponent.is_floating_point():
        return torch.pow(x.to(torch.float64), exponent.to(torch.float64)).to(x.dtype)
    return torch.pow(wide(x), wide(exponent).to(torch.int64)).to(x.dtype)


def _mod(a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    compute = torch.fmod if fmod else torch.remainder
    return compute(wide(a), wide(b)).to(a.dtype)


def _shift(a: Tensor, b: Tensor, *, direction: str) -> Tensor:
    if direction not in ("LEFT", "RIGHT"):
        raise UnsupportedError(f"shifts in the direction {direction!r}")
    left, bits = direction == "LEFT", a.element_size() * 8
    value, count = wide(a), wide(b)
    compute = torch.bitwise_left_shift if left else torch.bitwise_right_shift
    shifted = compute(value, count.clamp(max=bits - 1))
    if not left and a.dtype is torch.uint64:  # its highest bit is a sign in int64
        shifted = torch.where(count > 0, shifted & ((1 << 63 - count.clamp(1, 63)) * 2 - 1), shifted)
    if left or not a.dtype.is_signed:
        shifted = torch.where(count >= bits, torch.zeros_like(shifted), shifted)
    return shifted.to(a.dtype)


def _is_inf(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    infinite = torch.isinf(x.float() if x.element_size() == 1 else x)
    if not detect_negative:
        infinite = infinite & (x.float() > 0)
    return infinite if detect_positive else infinite & (x.float() < 0)


def _is_nan(x: Tensor) -> Tensor:
    return torch.isnan(x.float() if x.element_size() == 1 else x)


def _where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return torch.where(condition, x, y)


def _clip(input: Tensor, min: Number | None = None, max: Number | None = None) -> Tensor:
    """A minimum above the maximum gives the maximum. At both bounds the gradient is zero, as of the ReLU6 and Hardtanh that exporters spell so."""
    if min is None and max is None:
        return input
    if min is not None and max is not None and min <= max and input.is_floating_point():
        return F.hardtanh(input, min, max)
    return wide(input).clamp(min, max).to(input.dtype)


def _hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


def _shrink(x: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    zero = torch.zeros_like(x)
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, zero)).to(x.dtype)


def _prelu(x: Tensor, slope: Tensor, *, opset: int) -> Tensor:
    if opset < 7 and slope.dim() == 1:  # one per channel
        slope = slope.reshape(-1, *[1] * (x.dim() - 2))
    return torch.where(x < 0, slope * x, x)


def _leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return F.leaky_relu(x, alpha)


def _elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return F.elu(x, alpha)


def _celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return F.celu(x, alpha)


def _selu(x: Tensor, *, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805) -> Tensor:
    return gamma * torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0)))


def _thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return torch.where(x > alpha, x, torch.zeros_like(x))


def _gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    return F.gelu(x, approximate=approximate)


def _swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return F.silu(x) if alpha == 1.0 else x * torch.sigmoid(alpha * x)


def _swiglu(a: Tensor, b: Tensor, *, alpha: float = 1.0) -> Tensor:
    return _swish(a, alpha=alpha) * b


def _softplus(x: Tensor) -> Tensor:
    return F.softplus(x, threshold=80.0)


OPERATORS: dict[str, Operator] = {
    "Add": _binary(torch.add), "Sub": _binary(torch.sub), "Mul": _binary(torch.mul), "Div": _binary(_div),
    "Pow": _pow, "Mod": _mod, "BitShift": _shift,
    "Max": _variadic(torch.maximum), "Min": _variadic(torch.minimum), "Sum": _variadic(torch.add), "Mean": _mean,
    "Equal": _comparison(torch.eq), "Greater": _comparison(torch.gt), "GreaterOrEqual": _comparison(torch.ge),
    "Less": _comparison(torch.lt), "LessOrEqual": _comparison(torch.le),
    "And": _comparison(torch.logical_and), "Or": _comparison(torch.logical_or), "Xor": _comparison(torch.logical_xor),
    "Not": _unary(torch.logical_not), "BitwiseAnd": _binary(torch.bitwise_and), "BitwiseOr": _binary(torch.bitwise_or),
    "BitwiseXor": _binary(torch.bitwise_xor), "BitwiseNot": _unary(torch.bitwise_not),
    "Where": _where, "Clip": _clip, "IsInf": _is_inf, "IsNaN": _is_nan, "Round": _unary(torch.round),
    "Abs": _unary(torch.abs), "Neg": _unary(torch.neg), "Sign": _unary(torch.sign), "Ceil": _unary(torch.ceil),
    "Floor": _unary(torch.floor), "Sqrt": _unary(torch.sqrt), "Exp": _unary(torch.exp), "Log": _unary(torch.log),
    "Reciprocal": _unary(torch.reciprocal), "Erf": _unary(torch.erf), "Sin": _unary(torch.sin), "Cos": _unary(torch.cos),
    "Tan": _unary(torch.tan), "Asin": _unary(torch.asin), "Acos": _unary(torch.acos), "Atan": _unary(torch.atan),
    "Sinh": _unary(torch.sinh), "Cosh": _unary(torch.cosh), "Asinh": _unary(torch.asinh), "Acosh": _unary(torch.acosh),
    "Atanh": _unary(torch.atanh), "Tanh": _unary(torch.tanh), "Sigmoid": _unary(torch.sigmoid), "Relu": _unary(torch.relu),
    "Softplus": _softplus, "Softsign": _unary(F.softsign), "HardSwish": _unary(F.hardswish), "Mish": _unary(F.mish),
    "HardSigmoid": _hard_sigmoid, "Shrink": _shrink, "PRelu": _prelu, "LeakyRelu": _leaky_relu, "Elu": _elu, "Celu": _celu,
    "Selu": _selu, "ThresholdedRelu": _thresholded_relu, "Gelu": _gelu, "Swish": _swish, "SwiGLU": _swiglu,
}  # fmt: skip
