"""Where the windows of convolutions and poolings lie, for every padding of ONNX."""

from __future__ import annotations

from dataclasses import dataclass

from trainaudit.probe.onnx_module.values import Tensor, UnsupportedError, bounded


@dataclass(frozen=True, slots=True)
class Geometry:
    """Per spatial axis. `after` is the file's own padding; `ceiling` what more the last window of a pooling with ceil_mode reaches."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]
    ceiling: list[int]


def geometry(
    sizes: list[int], kernel: list[int], strides: list[int] | None, pads: list[int] | None, dilations: list[int] | None,
    auto_pad: str, ceil_mode: int = 0,
) -> Geometry:  # fmt: skip
    """What the attributes mean for an input of these sizes."""
    rank = len(sizes)
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    if not rank == len(kernel) == len(strides) == len(dilations):
        raise UnsupportedError(f"has a kernel over {len(kernel)} axes for an input with {rank}")
    spans = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel, strict=True)]
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        total = [
            max((-(-size // stride) - 1) * stride + span - size, 0)
            for size, stride, span in zip(sizes, strides, spans, strict=True)
        ]
        less = [amount // 2 for amount in total]
        more = [amount - half for amount, half in zip(total, less, strict=True)]
        before, after = (less, more) if auto_pad == "SAME_UPPER" else (more, less)
    elif auto_pad in ("NOTSET", "VALID", ""):
        pads = [0] * 2 * rank if pads is None or auto_pad == "VALID" else pads
        before, after = pads[:rank], pads[rank:]
    else:
        raise UnsupportedError(f"pads by {auto_pad!r}")
    bounded([max(size + sum(pair), 0) for size, *pair in zip(sizes, before, after, strict=True)])
    ceiling = [0] * rank
    if ceil_mode:
        for axis in range(rank):
            room = sizes[axis] + before[axis] + after[axis] - spans[axis]
            count = -(-room // strides[axis]) + 1
            if (count - 1) * strides[axis] >= sizes[axis] + before[axis]:
                count -= 1  # a window that starts in the padding is none
            ceiling[axis] = max((count - 1) * strides[axis] - room, 0)
    return Geometry(kernel, strides, dilations, before, after, ceiling)


def unfolded(x: Tensor, place: Geometry) -> Tensor:
    """Every window of (batch, channel, *sizes), already padded: (batch, channel, *places, *kernel)."""
    for axis, (size, stride, dilation) in enumerate(zip(place.kernel, place.strides, place.dilations, strict=True)):
        x = x.unfold(2 + axis, dilation * (size - 1) + 1, stride)
        if dilation > 1:
            x = x[..., ::dilation]
    return x
