"""Operators that read an image between its pixels: grids, regions, deformable kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from trainaudit.probe.onnx_module.values import Ints, Tensor, UnsupportedError, bounded
from trainaudit.probe.onnx_module.windows import geometry

_MODES = {"linear": "bilinear", "bilinear": "bilinear", "nearest": "nearest", "cubic": "bicubic", "bicubic": "bicubic"}


def _grid_sample(
    x: Tensor, grid: Tensor, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros"
) -> Tensor:
    if mode not in _MODES or x.dim() not in (4, 5) or (x.dim() == 5 and _MODES[mode] == "bicubic"):
        raise UnsupportedError(f"samples by {mode!r} over {x.dim() - 2} axes")
    return F.grid_sample(x, grid.to(x.dtype), _MODES[mode], padding_mode, bool(align_corners))


def _affine_grid(theta: Tensor, size: Ints, *, align_corners: int = 0) -> Tensor:
    return F.affine_grid(theta, bounded(size), bool(align_corners))


def _roi_align(
    x: Tensor, rois: Tensor, batch_indices: Tensor, *, coordinate_transformation_mode: str | None = None, mode: str = "avg",
    output_height: int = 1, output_width: int = 1, sampling_ratio: int = 0, spatial_scale: float = 1.0, opset: int,
) -> Tensor:  # fmt: skip
    """He et al. 2017, arXiv:1703.06870; half-pixel coordinates since opset 16. A maximum is taken over the four weighted neighbours."""
    half = (coordinate_transformation_mode or ("half_pixel" if opset >= 16 else "output_half_pixel")) == "half_pixel"
    bounded([rois.shape[0], x.shape[1], output_height, output_width])
    results = []
    for roi, batch in zip(rois.detach().tolist(), batch_indices.tolist(), strict=True):
        x0, y0, x1, y1 = (edge * spatial_scale - (0.5 if half else 0.0) for edge in roi)
        axes = []
        for first, last, count, size in ((y0, y1, output_height, x.shape[2]), (x0, x1, output_width, x.shape[3])):
            extent = last - first if half else max(last - first, 1.0)
            samples = sampling_ratio if sampling_ratio > 0 else max(-int(-extent / count // 1), 1)
            bounded([x.shape[1], output_height * output_width, samples**2])
            step = extent / count
            at = [first + step * (place + (n + 0.5) / samples) for place in range(count) for n in range(samples)]
            axes.append((torch.tensor(at, dtype=x.dtype, device=x.device), size, samples, count))
        (rows, row_weights), (columns, column_weights) = (_between(at, size) for at, size, _, _ in axes)
        image = x[batch]
        parts = [
            image[:, rows[i]][:, :, columns[j]] * row_weights[i][:, None] * column_weights[j][None]
            for i in (0, 1)
            for j in (0, 1)
        ]
        (_, _, tall, height), (_, _, wide, width) = axes
        value = torch.stack(parts)
        value = value.sum(0) if mode == "avg" else value.amax(0)
        value = value.reshape(-1, height, tall, width, wide)
        results.append(value.mean((2, 4)) if mode == "avg" else value.amax((2, 4)))
    return torch.stack(results) if results else x.new_zeros(0, x.shape[1], output_height, output_width)


def _between(at: Tensor, size: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The two places around each point and their weights; nothing outside of [−1, size]."""
    inside = ((at >= -1) & (at <= size)).to(at.dtype)
    at = at.clamp(min=0)
    low = at.floor().clamp(max=size - 1)
    high = (low + 1).clamp(max=size - 1)
    share = torch.where(low >= size - 1, torch.zeros_like(at), at - low)
    return (low.to(torch.int64), high.to(torch.int64)), ((1 - share) * inside, share * inside)


def _deform_conv(
    x: Tensor, w: Tensor, offset: Tensor, b: Tensor | None = None, mask: Tensor | None = None, *, dilations: Ints | None = None,
    group: int = 1, kernel_shape: Ints | None = None, offset_group: int = 1, pads: Ints | None = None, strides: Ints | None = None,
) -> Tensor:  # fmt: skip
    """A convolution whose kernel reads at places shifted by `offset` (Dai et al. 2017, arXiv:1703.06211; Zhu et al. 2018, arXiv:1811.11168)."""
    del kernel_shape
    if x.dim() != 4:
        raise UnsupportedError(f"deforms a kernel over {x.dim() - 2} axes")
    place = geometry(list(x.shape[2:]), list(w.shape[2:]), strides, pads, dilations, "NOTSET")
    batch, channels, height, width = x.shape
    tall, wide = place.kernel
    rows, columns = offset.shape[2:]
    base = []
    for axis, (count, places) in enumerate(((tall, rows), (wide, columns))):
        start = torch.arange(places, device=x.device) * place.strides[axis] - place.before[axis]
        base.append(torch.arange(count, device=x.device)[:, None] * place.dilations[axis] + start)
    shift = offset.reshape(batch, offset_group, tall, wide, 2, rows, columns)
    y = base[0].reshape(tall, 1, rows, 1) + shift[:, :, :, :, 0]
    at = base[1].reshape(1, wide, 1, columns) + shift[:, :, :, :, 1]
    grid = torch.stack((2 * at / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1), -1)
    if width == 1 or height == 1:
        raise UnsupportedError("deforms a kernel over an image of one pixel")
    image = x.reshape(batch * offset_group, channels // offset_group, height, width)
    grid = grid.reshape(batch * offset_group, tall * wide * rows, columns, 2)
    read = F.grid_sample(image, grid.to(x.dtype), "bilinear", "zeros", True)
    read = read.reshape(batch, offset_group, channels // offset_group, tall * wide, rows * columns)
    if mask is not None:
        read = read * mask.reshape(batch, offset_group, 1, tall * wide, rows * columns)
    read = read.reshape(batch, group, channels // group * tall * wide, rows * columns)
    kernel = w.reshape(group, w.shape[0] // group, -1)
    result = torch.einsum("gok,bgkp->bgop", kernel, read).reshape(batch, w.shape[0], rows, columns)
    return result if b is None else result + b.reshape(1, -1, 1, 1)


def _dft(
    input: Tensor,
    dft_length: Tensor | None = None,
    axis: Any = None,
    *,
    inverse: int = 0,
    onesided: int = 0,
    opset: int,
) -> Tensor:
    """(…, 1 or 2): real and imaginary part on the last axis."""
    axis = (1 if opset < 20 else -2) if axis is None else int(axis)
    axis = axis + input.dim() if axis < 0 else axis
    signal = (
        input[..., 0] if input.shape[-1] == 1 else torch.complex(input[..., 0].contiguous(), input[..., 1].contiguous())
    )
    length = int(dft_length) if dft_length is not None else None
    if length is not None:
        bounded([length])
    if inverse and onesided:
        real: Tensor = torch.fft.irfft(signal, length, axis)
        return real.unsqueeze(-1).to(input.dtype)
    if inverse:
        return torch.view_as_real(torch.fft.ifft(signal, length, axis)).to(input.dtype)
    result = torch.fft.fft(signal, length, axis)
    if onesided:
        result = result.narrow(axis, 0, result.shape[axis] // 2 + 1)
    return torch.view_as_real(result.resolve_conj()).to(input.dtype)


def _stft(
    signal: Tensor,
    frame_step: Tensor,
    window: Tensor | None = None,
    frame_length: Tensor | None = None,
    *,
    onesided: int = 1,
) -> Tensor:
    """(batch, frames, bins, 2)."""
    if frame_length is not None:
        length = int(frame_length)
    else:
        length = signal.shape[1] if window is None else window.shape[0]
    step = int(frame_step)
    if signal.dim() == 2:
        signal = signal.unsqueeze(-1)
    frames = signal.unfold(1, length, step)  # (batch, frames, parts, length)
    if window is not None:
        frames = frames * F.pad(window, (0, length - window.shape[0]))
    parts = frames.unbind(2)
    result = torch.fft.fft(parts[0] if len(parts) == 1 else torch.complex(parts[0].contiguous(), parts[1].contiguous()))
    if onesided and len(parts) == 1:
        result = result[..., : length // 2 + 1]
    return torch.view_as_real(result).to(signal.dtype)


OPERATORS: dict[str, Callable[..., Any]] = {
    "GridSample": _grid_sample, "AffineGrid": _affine_grid, "RoiAlign": _roi_align, "DeformConv": _deform_conv, "DFT": _dft,
    "STFT": _stft,
}  # fmt: skip
