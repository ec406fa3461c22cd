"""Inputs on the scale that initializers are made for. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainaudit.probe.batches import inputs, with_inputs
from trainaudit.probe.feature_statistics import feature_axis
from trainaudit.probe.trainee import Batch, Trainee

_LARGEST_MEAN, _LEAST_STD, _LARGEST_STD = 3.0, 0.1, 10.0
"""The recipe's table, as in the rule unnormalized-input."""
_BATCHES = 16
_TINY = 1e-12


def standardized(trainee: Trainee, batch: Batch) -> Batch | None:
    """The batch with each floating-point input less its mean and over its standard deviation in the data, feature by feature; None where all are
    of about zero mean and unit variance as they are."""
    given = inputs(batch)
    every = list(zip(*(inputs(other) for other in trainee.train[:_BATCHES]), strict=False))
    if len(every) != len(given):
        return None
    changed = [_changed(tensor, tensors) for tensor, tensors in zip(given, every, strict=True)]
    if all(new is old for new, old in zip(changed, given, strict=True)):
        return None
    return with_inputs(batch, changed)


def _changed(tensor: Any, data: Sequence[Any]) -> Any:
    """The tensor as it is where it holds no floats, or is on scale."""
    import torch

    if not tensor.is_floating_point() or tensor.ndim == 0 or len({other.ndim for other in (tensor, *data)}) > 1:
        return tensor
    axis = feature_axis(tensor)
    if axis >= tensor.ndim or len({other.shape[axis] for other in (tensor, *data)}) > 1:
        return tensor
    rows = torch.cat([other.movedim(axis, -1).reshape(-1, other.shape[axis]) for other in data]).double()
    mean, std = float(rows.mean()), float(rows.std(unbiased=False))
    if abs(mean) <= _LARGEST_MEAN and _LEAST_STD <= std <= _LARGEST_STD:
        return tensor
    means, stds = rows.mean(0), rows.std(0, unbiased=False)
    stds = torch.where(stds > _TINY, stds, torch.ones_like(stds))
    moved = (tensor.movedim(axis, -1).double() - means) / stds
    return moved.movedim(-1, axis).to(tensor.dtype)
