"""Operators that move elements without computing with them: reshaping, cutting, joining, padding."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from trainaudit.probe.onnx_module.values import Int, Ints, Tensor, UnsupportedError, axis_of, bounded, broadcast


def _reshape(data: Tensor, shape: Ints, *, allowzero: int = 0) -> Tensor:
    if allowzero:
        return data.reshape(shape)
    return data.reshape([data.shape[index] if size == 0 else size for index, size in enumerate(shape)])


def _flatten(input: Tensor, *, axis: int = 1) -> Tensor:
    axis = axis + input.dim() if axis < 0 else axis
    rows = 1
    for size in input.shape[:axis]:
        rows *= size
    return input.reshape(rows, -1) if input.numel() else input.reshape(rows, input.shape[axis:].numel())


def _transpose(data: Tensor, *, perm: Ints | None = None) -> Tensor:
    return data.permute(perm if perm is not None else list(range(data.dim()))[::-1])


def _squeeze(data: Tensor, axes: Ints | None = None) -> Tensor:
    if axes is None:
        return data.squeeze()
    if any(data.shape[axis] != 1 for axis in axes):
        raise UnsupportedError("squeezes an axis that is longer than one")
    return data.squeeze(tuple(axes))


def _unsqueeze(data: Tensor, axes: Ints) -> Tensor:
    rank = data.dim() + len(axes)
    for axis in sorted(axis_of(axis, rank) for axis in axes):
        data = data.unsqueeze(axis)
    return data


def _concat(*inputs: Tensor, axis: int = 1) -> Tensor:
    return torch.cat(inputs, dim=axis)


def _lengths(size: int, split: list[int] | None, count: int) -> list[int]:
    """The sizes of the pieces: as asked for, or `count` equal ones of which the last may be shorter."""
    if split is not None:
        return split
    if count > max(size, 64):
        raise UnsupportedError(f"splits {size} elements in {count:,} parts")
    piece = -(-size // count)
    return [max(min(piece, size - start * piece), 0) for start in range(count)]


def _split(
    input: Tensor, split: Ints | None = None, *, axis: int = 0, num_outputs: int | None = None, outputs: int
) -> Any:
    lengths = _lengths(input.shape[axis], split, num_outputs or outputs)
    return tuple(torch.split(input, lengths, dim=axis))


def _slice(
    data: Tensor, starts: Ints, ends: Ints, axes: Ints | None = None, steps: Ints | None = None
) -> Tensor:  # fmt: skip
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        picked = range(data.shape[axis])[start:end:step]
        if step > 0:
            if picked:
                data = data.narrow(axis, picked[0], picked[-1] - picked[0] + 1)
            else:
                data = data.narrow(axis, 0, 0)
            if step > 1:
                data = _every(data, axis, step)
        elif picked:
            data = data.narrow(axis, picked[-1], picked[0] - picked[-1] + 1).flip(axis)
            data = _every(data, axis, -step)
        else:
            data = data.narrow(axis, 0, 0)
    return data


def _every(data: Tensor, axis: int, step: int) -> Tensor:
    return data[(slice(None),) * axis_of(axis, data.dim()) + (slice(None, None, step),)]


def _expand(input: Tensor, shape: Ints) -> Tensor:
    return input.expand(bounded(broadcast(list(input.shape), shape)))


def _tile(input: Tensor, repeats: Ints) -> Tensor:
    bounded([size * count for size, count in zip(input.shape, repeats, strict=True)])
    return input.repeat(repeats)


_MODES = {"edge": "replicate", "reflect": "reflect", "wrap": "circular"}


def _pad(
    data: Tensor, pads: Ints, constant_value: Tensor | None = None, axes: Ints | None = None, *, mode: str = "constant",
    value: float = 0.0,
) -> Tensor:  # fmt: skip
    rank = data.dim()
    axes = list(range(rank)) if axes is None else [axis_of(axis, rank) for axis in axes]
    around = [(0, 0)] * rank
    for index, axis in enumerate(axes):
        around[axis] = (pads[index], pads[index + len(axes)])
    bounded([max(size + before + after, 0) for size, (before, after) in zip(data.shape, around, strict=True)])
    if mode == "constant":
        fill = value if constant_value is None else constant_value.item()
        flat = [amount for pair in reversed(around) for amount in pair]
        if data.dtype is torch.bool:
            return F.pad(data.to(torch.uint8), flat, value=int(fill)).bool()
        return F.pad(data, flat, value=fill)
    if mode not in _MODES:
        raise UnsupportedError(f"pads in the mode {mode!r}")
    for axis, (before, after) in enumerate(around):
        if before or after:
            data = data.index_select(axis, _padded_index(data.shape[axis], before, after, mode).to(data.device))
    return data


def _padded_index(size: int, before: int, after: int, mode: str) -> Tensor:
    """Which element of an axis stands at each place of the padded one."""
    place = torch.arange(-before, size + after)
    if mode == "edge":
        return place.clamp(0, size - 1)
    if mode == "wrap":
        return place % size
    if size == 1:
        return torch.zeros_like(place)
    place = place % (2 * size - 2)
    return torch.where(place >= size, 2 * size - 2 - place, place)


def _center_crop_pad(input_data: Tensor, shape: Ints, *, axes: Ints | None = None) -> Tensor:
    bounded(shape)
    axes = list(range(input_data.dim())) if axes is None else [axis_of(axis, input_data.dim()) for axis in axes]
    for axis, size in zip(axes, shape, strict=True):
        have = input_data.shape[axis]
        if have > size:
            input_data = input_data.narrow(axis, (have - size) // 2, size)
        elif have < size:
            before = (size - have) // 2
            pads = [0, 0] * (input_data.dim() - axis - 1) + [before, size - have - before]
            input_data = F.pad(input_data, pads)
    return input_data


def _depth_to_space(input: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    batch, channels, height, width = input.shape
    inner = channels // blocksize**2
    if mode == "CRD":
        split = input.reshape(batch, inner, blocksize, blocksize, height, width).permute(0, 1, 4, 2, 5, 3)
    else:
        split = input.reshape(batch, blocksize, blocksize, inner, height, width).permute(0, 3, 4, 1, 5, 2)
    return split.reshape(batch, inner, height * blocksize, width * blocksize)


def _space_to_depth(input: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    batch, channels, height, width = input.shape
    split = input.reshape(batch, channels, height // blocksize, blocksize, width // blocksize, blocksize)
    order = (0, 1, 3, 5, 2, 4) if mode == "CRD" else (0, 3, 5, 1, 2, 4)
    return split.permute(order).reshape(batch, channels * blocksize**2, height // blocksize, width // blocksize)


def _trilu(input: Tensor, k: Int | None = None, *, upper: int = 1) -> Tensor:
    rows, columns = input.shape[-2:]
    offset = max(-rows - 1, min(k or 0, columns + 1))
    return torch.triu(input, offset) if upper else torch.tril(input, offset)


def _reverse_sequence(input: Tensor, sequence_lens: Tensor, *, batch_axis: int = 1, time_axis: int = 0) -> Tensor:
    return reversed_in_time(input, sequence_lens, batch_axis, time_axis)


def reversed_in_time(x: Tensor, lengths: Tensor, batch_axis: int, time_axis: int) -> Tensor:
    """The first `lengths[b]` steps of each sequence in reverse, the rest as it is."""
    steps = x.shape[time_axis]
    step = torch.arange(steps, device=x.device)[:, None]
    length = lengths.to(torch.int64)[None]
    index = torch.where(step < length, length - 1 - step, step)  # (time, batch)
    if time_axis > batch_axis:
        index = index.T
    shape = [1] * x.dim()
    shape[time_axis], shape[batch_axis] = x.shape[time_axis], x.shape[batch_axis]
    return torch.gather(x, time_axis, index.reshape(shape).expand(x.shape))


def _col2im(
    input: Tensor, image_shape: Ints, block_shape: Ints, *, dilations: Ints | None = None, pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:  # fmt: skip
    """Adds the columns of each place back into an image of any number of axes."""
    rank = len(image_shape)
    dilations, strides, pads = dilations or [1] * rank, strides or [1] * rank, pads or [0] * 2 * rank
    sizes = [size + pads[axis] + pads[axis + rank] for axis, size in enumerate(image_shape)]
    bounded(sizes)
    counts = [
        (size - dilation * (kernel - 1) - 1) // stride + 1
        for size, dilation, kernel, stride in zip(sizes, dilations, block_shape, strides, strict=True)
    ]
    if math.prod(counts) != input.shape[2] or input.shape[1] % math.prod(block_shape):
        raise UnsupportedError("has columns that do not fit its image")
    index = torch.zeros(1, 1, dtype=torch.int64)  # (kernel, places), an axis more in each round
    for axis, count in enumerate(counts):
        place = torch.arange(block_shape[axis])[:, None] * dilations[axis] + torch.arange(count)[None] * strides[axis]
        kernel, places = index.shape
        index = index.reshape(kernel, 1, places, 1) * sizes[axis] + place.reshape(1, block_shape[axis], 1, count)
        index = index.reshape(kernel * block_shape[axis], places * count)
    batch, columns, places = input.shape
    channels = columns // index.shape[0]
    image = torch.zeros(batch, channels, math.prod(sizes), dtype=input.dtype, device=input.device)
    image = image.index_add(2, index.reshape(-1).to(input.device), input.reshape(batch, channels, -1))
    image = image.reshape(batch, channels, *sizes)
    for axis, size in enumerate(image_shape):
        image = image.narrow(2 + axis, pads[axis], size)
    return image


OPERATORS: dict[str, Callable[..., Any]] = {
    "Reshape": _reshape, "Flatten": _flatten, "Transpose": _transpose, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze,
    "Concat": _concat, "Split": _split, "Slice": _slice, "Expand": _expand, "Tile": _tile, "Pad": _pad,
    "CenterCropPad": _center_crop_pad, "DepthToSpace": _depth_to_space, "SpaceToDepth": _space_to_depth, "Trilu": _trilu,
    "ReverseSequence": _reverse_sequence, "Col2Im": _col2im,
}  # fmt: skip
