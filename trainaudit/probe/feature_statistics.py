"""Moments, extrema and outliers of an input, by feature. torch is imported inside functions only.

A feature is a column of a table, a channel of an image, a component of a sequence's vectors. Moments are taken in float64 in two passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainaudit.frozen import frozen

_FAR = 6.0
"""Standard deviations from a feature's mean: |z| > 6 is listed in stage 1 of the recipe."""


@frozen
class Features:
    """See `trace.data.InputStatistics`. Values that are NaN or infinite are counted and left out of everything else."""

    non_finite_count: int
    count: int
    mean: float | None = None
    std: float | None = None
    least: float | None = None
    most: float | None = None
    constant_share: float | None = None
    scale_ratio: float | None = None
    outlier_share: float | None = None
    largest_z: float | None = None


def features_of(batches: Sequence[Any]) -> Features:
    """Of tensors (batch, …) of one input."""
    import torch

    axis = feature_axis(batches[0])
    rows, is_good = _rows(batches[0], axis)
    shift = torch.where(is_good, rows, 0).sum(0) / is_good.sum(0).clamp_min(1)  # near the mean, so that nothing cancels
    parts = [_sums(*_rows(tensor, axis), shift) for tensor in batches]
    sums, squares, number, low, high = (torch.stack(column) for column in zip(*parts, strict=True))
    number, least, most = number.sum(0), low.amin(0), high.amax(0)
    bad = sum(tensor.numel() for tensor in batches) - int(number.sum())
    seen = number > 0
    if not bool(seen.any()):
        return Features(non_finite_count=bad, count=number.numel())
    offset = sums.sum(0) / number.clamp_min(1)
    variance = (squares.sum(0) / number.clamp_min(1) - offset**2).clamp_min(0)
    means, stds = shift + offset, variance.sqrt()
    varies = seen & (most > least)
    largest, far = _far(batches, axis, means, torch.where(varies, stds, torch.inf))
    spread = stds[varies & (stds > 0)]
    weight = number.double() / number.sum()
    mean = float((means * weight).sum())
    return Features(
        mean=mean,
        std=float(((variance + (means - mean) ** 2) * weight).sum().sqrt()),
        least=float(least[seen].min()),
        most=float(most[seen].max()),
        non_finite_count=bad,
        count=number.numel(),
        constant_share=float((seen & ~varies).double().mean()) if int(number.max()) > 1 else None,
        scale_ratio=float(spread.max() / spread.quantile(0.25)) if spread.numel() else None,
        outlier_share=far / int(number.sum()),
        largest_z=largest,
    )


def _sums(rows: Any, is_good: Any, shift: Any) -> tuple[Any, ...]:
    """Of one batch, by feature: sum and sum of squares around the shift, number, least and largest of the finite values."""
    import torch

    centred = torch.where(is_good, rows - shift, 0)
    low, high = torch.where(is_good, rows, torch.inf), torch.where(is_good, rows, -torch.inf)
    return centred.sum(0), (centred**2).sum(0), is_good.sum(0), low.amin(0), high.amax(0)


def feature_axis(tensor: Any) -> int:
    """1 for tables and images; of a sequence the axis that is shorter, channels of a signal or components of its vectors."""
    if tensor.ndim != 3:
        return 1 if tensor.ndim > 1 else 0
    return 1 if tensor.shape[1] < tensor.shape[2] else 2


def _rows(tensor: Any, axis: int) -> tuple[Any, Any]:
    """(values, features) in float64, and which of them are finite."""
    values = tensor.detach().cpu().double()
    rows = values.reshape(-1, 1) if tensor.ndim < 2 else values.movedim(axis, -1).reshape(-1, values.shape[axis])
    return rows, rows.isfinite()


def _far(batches: Sequence[Any], axis: int, means: Any, stds: Any) -> tuple[float, int]:
    """The largest |z|, and how many values are beyond 6 standard deviations of their feature."""
    import torch

    largest, far = 0.0, 0
    for tensor in batches:
        rows, is_good = _rows(tensor, axis)
        z = torch.where(is_good, (rows - means).abs() / stds, 0)
        largest = max(largest, float(z.max()))
        far += int((z > _FAR).sum())
    return largest, far
