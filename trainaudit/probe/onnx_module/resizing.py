"""Resize and Upsample: each axis by itself, as a sparse matrix of interpolation weights (onnx docs/Operators.md, Resize)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from trainaudit.probe.onnx_module.values import Floats, Ints, Tensor, UnsupportedError, axis_of, bounded


def _coordinates(mode: str, size: int, length: float, count: int, scale: float, roi: tuple[float, float]) -> Tensor:
    """Where each of `count` output places lies on the input axis. `length` is size · scale, which need not be whole."""
    place = torch.arange(count, dtype=torch.float64)
    if mode == "align_corners":
        return place * (size - 1) / (length - 1) if length != 1 else place * 0
    if mode == "asymmetric":
        return place / scale
    if mode == "half_pixel":
        return (place + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return (place + 0.5) / scale - 0.5 if length > 1 else place * 0
    if mode == "half_pixel_symmetric":
        return size / 2 * (1 - count / length) + (place + 0.5) / scale - 0.5
    if mode == "tf_half_pixel_for_nn":
        return (place + 0.5) / scale
    if mode == "tf_crop_and_resize":
        start, end = roi
        if count > 1:
            return start * (size - 1) + place * (end - start) * (size - 1) / (count - 1)
        return place * 0 + 0.5 * (start + end) * (size - 1)
    raise UnsupportedError(f"has the coordinate mode {mode!r}")


def _nearest(where: Tensor, mode: str, scale: float) -> Tensor:
    if mode == "round_prefer_floor":
        return torch.ceil(where - 0.5)
    if mode == "round_prefer_ceil":
        return torch.floor(where + 0.5)
    if mode in ("floor", "ceil"):
        return torch.floor(where) if mode == "floor" else torch.ceil(where)
    if mode == "simple":  # opset 10, as onnxruntime reads it
        return torch.floor(where) if scale >= 1 else torch.ceil(where)
    raise UnsupportedError(f"takes the nearest by {mode!r}")


def _linear_weight(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp(min=0)


def _cubic_weight(distance: Tensor, a: float) -> Tensor:
    """Keys 1981, doi 10.1109/TASSP.1981.1163711."""
    d = distance.abs()
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


def _weights(where: Tensor, size: int, scale: float, mode: str, a: float, antialias: bool, exclude: bool) -> Tensor:
    """(output places, input places): what each output is a sum of; what lies outside counts for the edge, or not at all."""
    shrink = min(scale, 1.0) if antialias else 1.0
    reach = math.ceil((1 if mode == "linear" else 2) / shrink)
    offset = torch.arange(-reach, reach + 1, dtype=torch.float64)
    place = torch.floor(where)[:, None] + offset[None]
    distance = (place - where[:, None]) * shrink
    weight = _linear_weight(distance) if mode == "linear" else _cubic_weight(distance, a)
    if exclude:
        weight = torch.where((place < 0) | (place >= size), torch.zeros_like(weight), weight)
    if exclude or antialias:
        weight = weight / weight.sum(1, keepdim=True)
    matrix = torch.zeros(len(where), size, dtype=torch.float64)
    return matrix.scatter_add(1, place.clamp(0, size - 1).to(torch.int64), weight)


def _resize_axis(
    x: Tensor, axis: int, count: int, scale: float, roi: tuple[float, float], options: dict[str, Any]
) -> Tensor:
    size = x.shape[axis]
    length = size * scale
    where = _coordinates(options["coordinates"], size, length, count, scale, roi)
    if options["mode"] == "nearest":
        index = _nearest(where, options["nearest"], scale).clamp(0, size - 1).to(torch.int64)
        result = x.index_select(axis, index.to(x.device))
    else:
        matrix = _weights(where, size, scale, options["mode"], options["a"], options["antialias"], options["exclude"])
        kind = x.dtype if x.is_floating_point() else torch.float64
        result = torch.tensordot(x.to(kind), matrix.to(x.device, kind), ([axis], [1])).movedim(-1, axis)
    if options["coordinates"] == "tf_crop_and_resize":
        outside = ((where < 0) | (where > size - 1)).to(x.device)
        shape = [1] * x.dim()
        shape[axis] = -1
        result = result.masked_fill(outside.reshape(shape), options["extrapolation"])
    return result


def _resize(
    x: Tensor, roi: Tensor | list[float] | None = None, scales: Floats | None = None, sizes: Ints | None = None, *,
    antialias: int = 0, axes: Ints | None = None, coordinate_transformation_mode: str | None = None, cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0, extrapolation_value: float = 0.0, keep_aspect_ratio_policy: str = "stretch", mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor", opset: int,
) -> Tensor:  # fmt: skip
    if opset < 11:  # its second input is the scales
        scales, roi = (roi.tolist() if isinstance(roi, Tensor) else roi) if roi is not None else scales, None
        coordinate_transformation_mode, nearest_mode = "asymmetric", "simple"
    modes = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "cubic": "cubic"}
    if mode not in modes:
        raise UnsupportedError(f"interpolates by {mode!r}")
    axes = list(range(x.dim())) if axes is None else [axis_of(axis, x.dim()) for axis in axes]
    have = [x.shape[axis] for axis in axes]
    if sizes:
        scales = [size / old for size, old in zip(sizes, have, strict=True)]
        if keep_aspect_ratio_policy != "stretch":
            scale = min(scales) if keep_aspect_ratio_policy == "not_larger" else max(scales)
            scales = [scale] * len(axes)
            sizes = [math.floor(scale * old + 0.5) for old in have]
    elif scales:
        sizes = [math.floor(old * scale) for old, scale in zip(have, scales, strict=True)]
    else:
        raise UnsupportedError("gives neither scales nor sizes")
    edges = roi.tolist() if isinstance(roi, Tensor) and roi.numel() else [0.0] * len(axes) + [1.0] * len(axes)
    full = list(x.shape)
    for axis, size in zip(axes, sizes, strict=True):
        full[axis] = size
    bounded(full)
    options = {
        "mode": modes[mode], "coordinates": coordinate_transformation_mode or "half_pixel", "nearest": nearest_mode,
        "a": cubic_coeff_a, "antialias": bool(antialias), "exclude": bool(exclude_outside), "extrapolation": extrapolation_value,
    }  # fmt: skip
    result = x
    for index, axis in enumerate(axes):
        if scales[index] != 1 or options["coordinates"] == "tf_crop_and_resize":
            region = (edges[index], edges[index + len(axes)])
            result = _resize_axis(result, axis, sizes[index], scales[index], region, options)
    return result if x.is_floating_point() else result.round().to(x.dtype)


def _upsample(x: Tensor, scales: Floats | None = None, *, mode: str = "nearest") -> Tensor:
    return _resize(
        x, None, scales, mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="simple", opset=11
    )


OPERATORS: dict[str, Callable[..., Any]] = {"Resize": _resize, "Upsample": _upsample}
