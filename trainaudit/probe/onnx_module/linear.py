"""Operators with a matrix or kernel: products, convolutions, einsum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from trainaudit.probe.onnx_module.values import Ints, Tensor, UnsupportedError, bounded, wide
from trainaudit.probe.onnx_module.windows import Geometry, geometry

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(wide(a), wide(b)).to(a.dtype) if not a.is_floating_point() else torch.matmul(a, b)


def _gemm(
    a: Tensor, b: Tensor, c: Tensor | None = None, *, alpha: float = 1.0, beta: float = 1.0, broadcast: int = 1, transA: int = 0,  # noqa: N803
    transB: int = 0,  # noqa: N803
) -> Tensor:  # fmt: skip
    del broadcast  # of opset 6, which allowed what every later one does
    if transA:
        a = a.T
    if alpha == 1.0 and a.is_floating_point() and (c is None or (beta == 1.0 and c.dim() == 1)):
        return F.linear(a, b if transB else b.T, c)
    product = _matmul(a, b.T if transB else b)
    if alpha != 1.0:
        product = product * alpha
    if c is None:
        return product
    return product + (c if beta == 1.0 else c * beta)


def _einsum(*inputs: Tensor, equation: str) -> Tensor:
    return torch.einsum(equation.replace(" ", ""), *inputs)


def _det(x: Tensor) -> Tensor:
    determinant: Tensor = torch.linalg.det(x)
    return determinant


def padded(x: Tensor, place: Geometry, value: float = 0.0) -> tuple[Tensor, list[int]]:
    """`x` and the symmetric padding that is left to torch: padding that differs between the sides is done here."""
    if place.before == place.after:
        return x, place.before
    flat = [amount for pair in zip(reversed(place.before), reversed(place.after), strict=True) for amount in pair]
    return F.pad(x, flat, value=value), [0] * len(place.before)


def _conv(
    x: Tensor, w: Tensor, b: Tensor | None = None, *, auto_pad: str = "NOTSET", dilations: Ints | None = None, group: int = 1,
    kernel_shape: Ints | None = None, pads: Ints | None = None, strides: Ints | None = None,
) -> Tensor:  # fmt: skip
    del kernel_shape  # the weight says it
    rank = x.dim() - 2
    if rank not in _CONVOLUTIONS:
        raise UnsupportedError(f"convolves over {rank} axes")
    place = geometry(list(x.shape[2:]), list(w.shape[2:]), strides, pads, dilations, auto_pad)
    x, padding = padded(x, place)
    result: Tensor = _CONVOLUTIONS[rank](x, w, b, place.strides, padding, place.dilations, group)
    return result


def _conv_transpose(
    x: Tensor, w: Tensor, b: Tensor | None = None, *, auto_pad: str = "NOTSET", dilations: Ints | None = None, group: int = 1,
    kernel_shape: Ints | None = None, output_padding: Ints | None = None, output_shape: Ints | None = None,
    pads: Ints | None = None, strides: Ints | None = None,
) -> Tensor:  # fmt: skip
    """The full result cut to the output shape: padding of a transposed convolution is a crop."""
    del kernel_shape
    rank = x.dim() - 2
    if rank not in _TRANSPOSED:
        raise UnsupportedError(f"convolves over {rank} axes")
    strides, dilations, extra = strides or [1] * rank, dilations or [1] * rank, output_padding or [0] * rank
    full = [
        (size - 1) * stride + dilation * (kernel - 1) + 1 + more
        for size, stride, dilation, kernel, more in zip(
            x.shape[2:], strides, dilations, w.shape[2:], extra, strict=True
        )
    ]
    bounded([x.shape[0], w.shape[1] * group, *full])
    if output_shape is not None or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        sizes = output_shape or [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
        sizes = sizes[-rank:]
        total = [have - want for have, want in zip(full, sizes, strict=True)]
        # SAME_UPPER crops more at the end; what output_shape leaves open is cropped at the beginning
        less = [amount // 2 for amount in total]
        more = [amount - half for amount, half in zip(total, less, strict=True)]
        before, after = (less, more) if auto_pad == "SAME_UPPER" else (more, less)
    else:
        pads = [0] * 2 * rank if pads is None or auto_pad == "VALID" else pads
        before, after = pads[:rank], pads[rank:]
    if (
        before == after
        and min(before, default=0) >= 0
        and all(more < stride for more, stride in zip(extra, strides, strict=True))
    ):
        result: Tensor = _TRANSPOSED[rank](x, w, b, strides, before, extra, group, dilations)
        return result
    result = _TRANSPOSED[rank](x, w, b, strides, 0, 0, group, dilations)
    crop = [
        amount
        for first, last, more in zip(reversed(before), reversed(after), reversed(extra), strict=True)
        for amount in (-first, more - last)
    ]
    if b is not None and any(
        amount > 0 for amount in crop
    ):  # what is added beyond the kernels' reach holds the bias alone
        shift = b.reshape(1, -1, *[1] * rank)
        return F.pad(result - shift, crop) + shift
    return F.pad(result, crop)


def _causal_conv(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    past_state: Tensor | None = None,
    *,
    activation: str = "none",
) -> tuple[Tensor, Tensor]:
    """A depthwise convolution over time that sees the past alone; the last steps are the state for the next call."""
    reach = weight.shape[-1] - 1
    past = input.new_zeros(*input.shape[:2], reach) if past_state is None else past_state.to(input.dtype)
    whole = torch.cat((past, input), -1)
    result = F.conv1d(whole, weight, bias, groups=input.shape[1])
    if activation in ("silu", "swish"):
        result = F.silu(result)
    elif activation != "none":
        raise UnsupportedError(f"has the activation {activation!r}")
    return result, whole[..., whole.shape[-1] - reach :]


OPERATORS: dict[str, Callable[..., Any]] = {
    "MatMul": _matmul, "Gemm": _gemm, "Einsum": _einsum, "Det": _det, "Conv": _conv, "ConvTranspose": _conv_transpose,
    "CausalConvWithState": _causal_conv,
}  # fmt: skip

conv = _conv
