"""Pooling: torch's kernels where they mean the same, unfolded windows where not (dilated averages, uneven padding, indices)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from trainaudit.probe.onnx_module.values import Ints, Tensor, UnsupportedError, bounded
from trainaudit.probe.onnx_module.windows import Geometry, geometry, unfolded

_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAXIMUM = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def _around(x: Tensor, place: Geometry, value: float) -> Tensor:
    flat = [
        amount
        for first, last, more in zip(
            reversed(place.before), reversed(place.after), reversed(place.ceiling), strict=True
        )
        for amount in (first, last + more)
    ]
    return F.pad(x, flat, value=value)


def _is_plain(place: Geometry) -> bool:
    return (
        place.before == place.after
        and not any(place.ceiling)
        and len(place.kernel) in _AVERAGE
        and all(2 * pad <= size for pad, size in zip(place.before, place.kernel, strict=True))
    )


def _inner(place: Geometry) -> tuple[int, ...]:
    """The axes of the kernel in unfolded windows."""
    return tuple(range(-len(place.kernel), 0))


def _average_pool(
    x: Tensor, *, kernel_shape: Ints, auto_pad: str = "NOTSET", ceil_mode: int = 0, count_include_pad: int = 0,
    dilations: Ints | None = None, pads: Ints | None = None, strides: Ints | None = None,
) -> Tensor:  # fmt: skip
    place = geometry(list(x.shape[2:]), kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    if _is_plain(place) and all(dilation == 1 for dilation in place.dilations):
        pool = _AVERAGE[len(kernel_shape)]
        result: Tensor = pool(x, place.kernel, place.strides, place.before, False, bool(count_include_pad))
        return result
    total = unfolded(_around(x, place, 0.0), place).sum(_inner(place))
    counted = torch.ones_like(x[:1, :1])
    if count_include_pad:  # the file's padding counts, what ceil_mode reaches beyond it does not
        none = [0] * len(kernel_shape)
        counted = _around(counted, replace(place, ceiling=none), 1.0)
        counted = _around(counted, replace(place, before=none, after=none), 0.0)
    else:
        counted = _around(counted, place, 0.0)
    return total / unfolded(counted, place).sum(_inner(place))


def _max_pool(
    x: Tensor, *, kernel_shape: Ints, auto_pad: str = "NOTSET", ceil_mode: int = 0, dilations: Ints | None = None,
    pads: Ints | None = None, storage_order: int = 0, strides: Ints | None = None, outputs: int,
) -> Any:  # fmt: skip
    place = geometry(list(x.shape[2:]), kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    if outputs == 1 and _is_plain(place) and x.is_floating_point():
        return _MAXIMUM[len(kernel_shape)](x, place.kernel, place.strides, place.before, place.dilations)
    if x.is_floating_point():
        windows, lowest = unfolded(_around(x, place, -torch.inf), place), 0
    else:
        lowest = torch.iinfo(x.dtype).min
        windows = unfolded(_around(x.to(torch.int64), place, lowest), place)
    rank = len(kernel_shape)
    values, index = windows.flatten(-rank).max(-1)
    if outputs == 1:
        return values.to(x.dtype)
    sizes = list(x.shape[2:])
    flat = torch.arange(x.numel(), device=x.device).reshape(x.shape)
    if storage_order:  # column-major: the first spatial axis runs fastest
        inner = torch.arange(flat[0, 0].numel(), device=x.device).reshape(sizes[::-1]).permute(*range(rank)[::-1])
        planes = torch.arange(x.shape[0] * x.shape[1], device=x.device).reshape(*x.shape[:2], *[1] * rank)
        flat = planes * inner.numel() + inner
    places = unfolded(_around(flat, place, 0), place).flatten(-rank)
    return values.to(x.dtype), places.gather(-1, index.unsqueeze(-1)).squeeze(-1)


def _lp_pool(
    x: Tensor, *, kernel_shape: Ints, auto_pad: str = "NOTSET", ceil_mode: int = 0, dilations: Ints | None = None,
    p: int = 2, pads: Ints | None = None, strides: Ints | None = None,
) -> Tensor:  # fmt: skip
    place = geometry(list(x.shape[2:]), kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    return unfolded(_around(x.abs() ** p, place, 0.0), place).sum(_inner(place)) ** (1 / p)


def _max_unpool(
    x: Tensor, indices: Tensor, output_shape: Ints | None = None, *, kernel_shape: Ints, pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:  # fmt: skip
    rank = len(kernel_shape)
    strides, pads = strides or [1] * rank, pads or [0] * 2 * rank
    sizes = [
        (size - 1) * stride + kernel - pads[axis] - pads[axis + rank]
        for axis, (size, stride, kernel) in enumerate(zip(x.shape[2:], strides, kernel_shape, strict=True))
    ]
    made = [*x.shape[:2], *sizes]
    shape = bounded(output_shape or made)
    full = x.new_zeros(bounded(made)).reshape(-1)
    full = full.scatter(0, indices.reshape(-1), x.reshape(-1)).reshape(made)
    return F.pad(
        full,
        [amount for have, want in zip(reversed(made), reversed(shape), strict=True) for amount in (0, want - have)],
    )


def _over_space(compute: Callable[[Tensor, tuple[int, ...]], Tensor]) -> Callable[[Tensor], Tensor]:
    def operator(x: Tensor) -> Tensor:
        return compute(x, tuple(range(2, x.dim())))

    return operator


def _global_lp_pool(x: Tensor, *, p: int = 2) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, p, tuple(range(2, x.dim())), True)
    return length


def _max_roi_pool(x: Tensor, rois: Tensor, *, pooled_shape: Ints, spatial_scale: float = 1.0) -> Tensor:
    """The maximum of each bin of each region (Girshick 2015, arXiv:1504.08083), with the rounding of its own code."""
    bounded([rois.shape[0], x.shape[1], *pooled_shape])
    results = []
    for roi in rois.detach().tolist():
        image = x[int(roi[0])]
        left, top, right, bottom = (int(edge * spatial_scale + 0.5) for edge in roi[1:])
        bins = []
        for axis, (first, last) in ((1, (top, bottom)), (2, (left, right))):
            step = max(last - first + 1, 1) / pooled_shape[axis - 1]
            size = image.shape[axis]
            bins.append(
                [
                    (
                        min(max(int(n * step // 1) + first, 0), size),
                        min(max(-int(-(n + 1) * step // 1) + first, 0), size),
                    )
                    for n in range(pooled_shape[axis - 1])
                ]
            )
        rows = [torch.stack([_highest(image[:, y0:y1, x0:x1]) for x0, x1 in bins[1]], -1) for y0, y1 in bins[0]]
        results.append(torch.stack(rows, -2))
    if not results:
        return x.new_zeros(0, x.shape[1], *pooled_shape)
    return torch.stack(results)


def _highest(part: Tensor) -> Tensor:
    return part.amax((1, 2)) if part.numel() else part.new_zeros(part.shape[0])


def _checked_channels(x: Tensor) -> Tensor:
    if x.dim() < 3:
        raise UnsupportedError("pools a tensor without spatial axes")
    return x


OPERATORS: dict[str, Callable[..., Any]] = {
    "AveragePool": _average_pool, "MaxPool": _max_pool, "LpPool": _lp_pool, "MaxUnpool": _max_unpool,
    "GlobalAveragePool": _over_space(lambda x, axes: _checked_channels(x).mean(axes, True)),
    "GlobalMaxPool": _over_space(lambda x, axes: _checked_channels(x).amax(axes, True)),
    "GlobalLpPool": _global_lp_pool, "MaxRoiPool": _max_roi_pool,
}  # fmt: skip
