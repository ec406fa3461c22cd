"""Labels that no output stands for: no loss can be computed with them, and yet they are what is to be reported. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trainaudit.counting import count as counted
from trainaudit.probe.losses import class_axis
from trainaudit.probe.structures import mapped
from trainaudit.probe.trainee import Batch


def classes_of(output: Any, target: Any) -> int | None:
    """Outputs that integer targets choose from; None where they are no class indices of such outputs."""
    import torch

    if not isinstance(output, torch.Tensor) or not isinstance(target, torch.Tensor):
        return None
    if target.is_floating_point() or target.dtype == torch.bool or output.ndim != target.ndim + 1 or output.ndim < 2:
        return None
    axis = class_axis(output, target)
    places = tuple(size for place, size in enumerate(output.shape) if place != axis)
    return int(output.shape[axis]) if places == tuple(target.shape) and output.shape[axis] > 1 else None


def in_range(batches: Sequence[Batch], count: int, ignore_index: int) -> tuple[tuple[Batch, ...], str]:
    """The batches with labels outside 0 … count − 1 moved to the nearest label that there is, wherever the model or a step reads them, and a
    sentence on it, "" where there was none. `Batch.label` keeps the labels as the data gave them."""
    import torch

    changed: list[Batch] = []
    outside = total = 0
    for batch in batches:
        target = batch.target
        if not isinstance(target, torch.Tensor) or target.is_floating_point():
            return tuple(batches), ""
        is_outside = ((target < 0) | (target >= count)) & (target != ignore_index)
        number = int(is_outside.sum())
        outside, total = outside + number, total + target.numel()
        changed.append(
            _with_target(batch, torch.where(is_outside, target.clamp(0, count - 1), target)) if number else batch
        )
    if not outside:
        return tuple(batches), ""
    note = f"{outside} of {counted(total, 'label')} {'is' if outside == 1 else 'are'} not below the model's {counted(count, 'output')}: no loss can be computed with them, so the nearest label stands for each."
    return tuple(changed), note


def _with_target(batch: Batch, target: Any) -> Batch:
    """The batch with another tensor in place of its target, in all that holds it."""

    def swap(tensor: Any) -> Any:
        return target if tensor is batch.target else tensor

    args, kwargs, raw = mapped(batch.args, swap), mapped(dict(batch.kwargs), swap), mapped(batch.raw, swap)
    return replace(batch, args=args, kwargs=kwargs, target=target, raw=raw, label=batch.target)
