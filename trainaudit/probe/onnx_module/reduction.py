"""Operators that bring an axis to one number, or normalize along it without weights: sums, extrema, softmax, losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from trainaudit.probe.onnx_module.values import Int, Ints, Tensor, UnsupportedError, axis_of, wide


def _reducer(compute: Callable[[Tensor, list[int], bool], Tensor]) -> Callable[..., Tensor]:
    def operator(data: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        if not axes:
            if noop_with_empty_axes:
                # the element-wise part is done all the same: a sum of squares over no axis squares
                return compute(wide(data).unsqueeze(0), [0], False).to(data.dtype)
            axes = list(range(data.dim()))
        if not axes:  # of a scalar
            return compute(wide(data).reshape(1), [0], False).to(data.dtype)
        return compute(wide(data), [axis_of(axis, data.dim()) for axis in axes], bool(keepdims)).to(data.dtype)

    return operator


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.mean(axes, keep) if x.is_floating_point() else x.double().mean(axes, keep)


def _prod(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keep)
    return x


def _length(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    if not x.is_floating_point():
        return x.double().square().sum(axes, keep).sqrt()
    length: Tensor = torch.linalg.vector_norm(x, 2, axes, keep)
    return length


def _log_sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return (x if x.is_floating_point() else x.double()).sum(axes, keep).log()


def _log_sum_exp(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return (x if x.is_floating_point() else x.double()).logsumexp(axes, keep)


def _extremum(largest: bool) -> Callable[[Tensor, list[int], bool], Tensor]:
    def compute(x: Tensor, axes: list[int], keep: bool) -> Tensor:
        if x.dtype is torch.bool:
            return compute(x.to(torch.uint8), axes, keep).bool()
        if any(x.shape[axis] == 0 for axis in axes):  # the neutral element
            info = torch.finfo(x.dtype) if x.is_floating_point() else torch.iinfo(x.dtype)
            lowest, highest = (-torch.inf, torch.inf) if x.is_floating_point() else (info.min, info.max)
            shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
            full = x.new_full(shape, lowest if largest else highest)
            return full if keep else full.squeeze(tuple(axes))
        return x.amax(axes, keep) if largest else x.amin(axes, keep)

    return compute


def _cumulative(compute: Callable[[Tensor, int], Tensor], neutral: float) -> Callable[..., Tensor]:
    def operator(x: Tensor, axis: Int, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
        axis = axis_of(axis, x.dim())
        source = x.flip(axis) if reverse else x
        if exclusive and x.shape[axis]:
            first = torch.full_like(source.narrow(axis, 0, 1), neutral)
            source = torch.cat((first, source.narrow(axis, 0, x.shape[axis] - 1)), axis)
        result = compute(wide(source), axis).to(x.dtype)
        return result.flip(axis) if reverse else result

    return operator


def _flat_or_along(compute: Callable[[Tensor, int], Tensor]) -> Callable[..., Tensor]:
    """Softmax and its like: along one axis since opset 13, before that over everything from the axis on."""

    def operator(input: Tensor, *, axis: int | None = None, opset: int) -> Tensor:
        if opset >= 13:
            return compute(input, -1 if axis is None else axis)
        axis = axis_of(1 if axis is None else axis, input.dim())
        flat = input.reshape(input.shape[:axis].numel(), -1)
        return compute(flat, 1).reshape(input.shape)

    return operator


def _hardmax(x: Tensor, axis: int) -> Tensor:
    first = (x == x.amax(axis, keepdim=True)).to(torch.uint8).max(axis, keepdim=True).indices
    return torch.zeros_like(x).scatter(axis, first, 1)


def _weighted(
    log_probability: Tensor, target: Tensor, weight: Tensor | None, ignore: int | None, reduction: str
) -> Tensor:
    """Negative log-likelihood of class labels (batch, …) under (batch, class, …)."""
    index = target.to(torch.int64)
    skipped = index == ignore if ignore is not None else torch.zeros_like(index, dtype=torch.bool)
    index = index.masked_fill(skipped, 0)
    loss = -log_probability.gather(1, index.unsqueeze(1)).squeeze(1)
    share = torch.ones_like(loss) if weight is None else weight[index].to(loss.dtype)
    share = share.masked_fill(skipped, 0.0)
    loss = loss * share
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction != "mean":
        raise UnsupportedError(f"reduces a loss by {reduction!r}")
    return loss.sum() / share.sum()


def _nll(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    return _weighted(input, target, weight, ignore_index, reduction)


def _cross_entropy(
    scores: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> tuple[Tensor, Tensor]:
    log_probability = F.log_softmax(scores, 1)
    return _weighted(log_probability, labels, weights, ignore_index, reduction), log_probability


OPERATORS: dict[str, Callable[..., Any]] = {
    "ReduceSum": _reducer(lambda x, axes, keep: x.sum(axes, keep)),
    "ReduceMean": _reducer(_mean),
    "ReduceProd": _reducer(_prod),
    "ReduceMax": _reducer(_extremum(True)),
    "ReduceMin": _reducer(_extremum(False)),
    "ReduceL1": _reducer(lambda x, axes, keep: x.abs().sum(axes, keep)),
    "ReduceL2": _reducer(_length),
    "ReduceSumSquare": _reducer(lambda x, axes, keep: x.square().sum(axes, keep)),
    "ReduceLogSum": _reducer(_log_sum),
    "ReduceLogSumExp": _reducer(_log_sum_exp),
    "CumSum": _cumulative(lambda x, axis: torch.cumsum(x, axis), 0),
    "CumProd": _cumulative(lambda x, axis: torch.cumprod(x, axis), 1),
    "Softmax": _flat_or_along(lambda x, axis: torch.softmax(x, axis)),
    "LogSoftmax": _flat_or_along(lambda x, axis: torch.log_softmax(x, axis)),
    "Hardmax": _flat_or_along(_hardmax),
    "NegativeLogLikelihoodLoss": _nll,
    "SoftmaxCrossEntropyLoss": _cross_entropy,
}
