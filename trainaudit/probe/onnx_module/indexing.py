"""Operators that pick elements or put them somewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from trainaudit.probe.onnx_module.values import (
    POORLY_SUPPORTED,
    Int,
    Tensor,
    UnsupportedError,
    axis_of,
    bounded,
    wide,
)


def _positive(indices: Tensor, size: int) -> Tensor:
    indices = indices.to(torch.int64)
    return torch.where(indices < 0, indices + size, indices)


def _gather(data: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    axis = axis_of(axis, data.dim())
    if indices.device != data.device:
        indices = indices.to(data.device)
    index = _positive(indices, data.shape[axis])
    if axis == 0 and data.dim() == 2 and data.is_floating_point():
        return torch.nn.functional.embedding(index, data)
    picked = data.index_select(axis, index.reshape(-1))
    return picked.reshape(data.shape[:axis] + indices.shape + data.shape[axis + 1 :])


def _gather_elements(data: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    return torch.gather(data, axis, _positive(indices, data.shape[axis]))


def _coordinates(indices: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    return tuple(_positive(column, size) for column, size in zip(indices.unbind(-1), shape, strict=False))


def _gather_nd(data: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    batch = tuple(data.shape[:batch_dims])
    flat = data.reshape(-1, *data.shape[batch_dims:])
    index = indices.reshape(flat.shape[0], -1, indices.shape[-1])
    rows = torch.arange(flat.shape[0], device=data.device)[:, None].expand(index.shape[:2])
    picked = flat[(rows, *_coordinates(index, tuple(data.shape[batch_dims:])))]
    return picked.reshape(*batch, *indices.shape[batch_dims:-1], *picked.shape[2:])


_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _scatter_elements(
    data: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none"
) -> Tensor:
    index = _positive(indices, data.shape[axis])
    updates = updates.to(data.dtype)
    if reduction == "none":
        return data.scatter(axis, index, updates)
    if reduction not in _REDUCTIONS:
        raise UnsupportedError(f"scatters with the reduction {reduction!r}")
    return data.scatter_reduce(axis, index, updates, _REDUCTIONS[reduction])


def _scatter_nd(data: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    depth = indices.shape[-1]
    place = _coordinates(indices, tuple(data.shape))
    if reduction in ("none", "add"):
        return data.index_put(place, updates.to(data.dtype), accumulate=reduction == "add")
    if reduction not in _REDUCTIONS:
        raise UnsupportedError(f"scatters with the reduction {reduction!r}")
    rows = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=data.device)
    for column, size in zip(place, data.shape, strict=False):
        rows = rows * size + column
    inner = data.shape[depth:].numel()
    index = rows.reshape(-1, 1).expand(-1, inner)
    flat = data.reshape(-1, inner).scatter_reduce(0, index, updates.reshape(-1, inner), _REDUCTIONS[reduction])
    return flat.reshape(data.shape)


def _tensor_scatter(
    past_cache: Tensor, update: Tensor, write_indices: Tensor | None = None, *, axis: int = -2, mode: str = "linear"
) -> Tensor:
    if mode not in ("linear", "circular"):
        raise UnsupportedError(f"writes in the mode {mode!r}")
    axis = axis_of(axis, past_cache.dim())
    size = past_cache.shape[axis]
    step = torch.arange(update.shape[axis], device=update.device)[None]
    if write_indices is not None:
        step = step + write_indices.to(torch.int64)[:, None]
    place = step % size if mode == "circular" else step
    shape = [1] * update.dim()
    shape[0], shape[axis] = place.shape
    return past_cache.scatter(axis, place.reshape(shape).expand(update.shape), update)


def _one_hot(indices: Tensor, depth: Int, values: Tensor, *, axis: int = -1) -> Tensor:
    bounded([indices.numel(), depth])
    rank = indices.dim() + 1
    index = _positive(wide(indices), depth)
    classes = torch.arange(depth, device=indices.device)
    shape = [1] * rank
    shape[axis_of(axis, rank)] = depth
    hot = index.unsqueeze(axis_of(axis, rank)) == classes.reshape(shape)
    return torch.where(hot, values[1], values[0])


def _top_k(x: Tensor, k: Int, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Tensor, Tensor]:
    """Of equal elements the first ones win, as ONNX says and `torch.topk` does not."""
    del sorted
    values, indices = torch.sort(wide(x), dim=axis, descending=bool(largest), stable=True)
    axis = axis_of(axis, x.dim())
    return values.narrow(axis, 0, k).to(x.dtype), indices.narrow(axis, 0, k)


def _non_zero(x: Tensor) -> Tensor:
    return torch.nonzero(x).T.contiguous() if x.dim() else torch.nonzero(x.reshape(1)).T[:, : int(x != 0)]


def _compress(input: Tensor, condition: Tensor, *, axis: int | None = None) -> Tensor:
    if axis is None:
        input, axis = input.reshape(-1), 0
    return input.index_select(axis, torch.nonzero(condition).reshape(-1))


def _unique(x: Tensor, *, axis: int | None = None, sorted: int = 1) -> tuple[Tensor, ...]:
    """Values, place of the first of each, which value each element has, and how many there are."""
    source = wide(x)
    values, inverse, counts = torch.unique(source, sorted=True, return_inverse=True, return_counts=True, dim=axis)
    axis = 0 if axis is None else axis_of(axis, x.dim())
    inverse = inverse.reshape(-1)
    place = torch.arange(inverse.numel(), device=x.device)
    first = torch.full_like(counts, inverse.numel()).scatter_reduce(0, inverse, place, "amin")
    if not sorted:
        order = torch.argsort(first)
        rank = torch.argsort(order)
        values, first, counts, inverse = values.index_select(axis, order), first[order], counts[order], rank[inverse]
    return values.to(x.dtype), first, inverse, counts


def _place_of_best(x: Tensor, axis: int, keepdims: int, last: int, best: Callable[..., Tensor]) -> Tensor:
    """`torch.argmax` and `torch.argmin` take the first of equal elements."""
    source = x.to(torch.uint8) if x.dtype is torch.bool else wide(x)
    index = best(source.flip(axis) if last else source, axis, bool(keepdims))
    result: Tensor = x.shape[axis] - 1 - index if last else index
    return result


def _arg_max(data: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    return _place_of_best(data.detach(), axis, keepdims, select_last_index, torch.argmax)


def _arg_min(data: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    return _place_of_best(data.detach(), axis, keepdims, select_last_index, torch.argmin)


def _non_max_suppression(
    boxes: Tensor, scores: Tensor, max_output_boxes_per_class: Int | None = None, iou_threshold: Tensor | None = None,
    score_threshold: Tensor | None = None, *, center_point_box: int = 0,
) -> Tensor:  # fmt: skip
    most = max_output_boxes_per_class or 0
    overlap = float(iou_threshold) if iou_threshold is not None else 0.0
    kept: list[list[int]] = []
    boxes, scores = boxes.detach(), scores.detach()
    if center_point_box:
        center, half = boxes[..., :2], boxes[..., 2:] / 2
        low, high = center - half, center + half
    else:
        low, high = torch.minimum(boxes[..., :2], boxes[..., 2:]), torch.maximum(boxes[..., :2], boxes[..., 2:])
    area = (high - low).prod(-1)
    for batch in range(scores.shape[0]):
        for label in range(scores.shape[1]):
            score = scores[batch, label]
            order = torch.argsort(score, descending=True, stable=True)
            if score_threshold is not None:
                order = order[score[order] > float(score_threshold)]
            count = 0
            while len(order) and count < most:
                best = int(order[0])
                kept.append([batch, label, best])
                count += 1
                shared = torch.minimum(high[batch, best], high[batch, order]) - torch.maximum(
                    low[batch, best], low[batch, order]
                )
                both = shared.clamp(min=0).prod(-1)
                union = area[batch, best] + area[batch, order] - both
                order = order[~(both / union > overlap) & (order != best)]
    return torch.tensor(kept, dtype=torch.int64, device=scores.device).reshape(-1, 3)


def _on_wide(operator: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The operator on unsigned integers that torch cannot index."""

    def wider(data: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
        if data.dtype in POORLY_SUPPORTED:
            return operator(wide(data), indices, axis=axis).to(data.dtype)
        return operator(data, indices, axis=axis)

    return wider


OPERATORS: dict[str, Callable[..., Any]] = {
    "Gather": _on_wide(_gather), "GatherElements": _on_wide(_gather_elements), "GatherND": _gather_nd,
    "ScatterElements": _scatter_elements, "Scatter": _scatter_elements, "ScatterND": _scatter_nd, "TensorScatter": _tensor_scatter,
    "OneHot": _one_hot, "TopK": _top_k, "NonZero": _non_zero, "Compress": _compress, "Unique": _unique, "ArgMax": _arg_max,
    "ArgMin": _arg_min, "NonMaxSuppression": _non_max_suppression,
}  # fmt: skip
