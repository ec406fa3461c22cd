"""Changes of what a model is fed with: the batches that were read, regrouped or standardized. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trainaudit.changes import Change
from trainaudit.counting import count as counted
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.probe.batches import gathered, inputs, split, take, with_inputs
from trainaudit.probe.losses import MEASURING
from trainaudit.probe.structures import mapped
from trainaudit.probe.trainee import Batch, Trainee

_SMALLEST = 1e-6
"""A feature whose deviation is smaller, for its size, counts as constant and is not divided by it."""


def with_data(trainee: Trainee, changes: Sequence[Change], seed: int) -> Trainee:
    """The trainee with other batches. Statistics are those of the training batches that were read."""
    for change in changes:
        if change.kind == "batch-size":
            trainee = _in_batches_of(trainee, int(change.amount or 0))
        elif change.kind == "shuffle":
            trainee = _shuffled(trainee, seed)
        elif change.kind == "standardize-inputs":
            trainee = _with_standard_inputs(trainee)
        else:
            trainee = _with_standard_targets(trainee)
    return trainee


def _whole(trainee: Trainee) -> Batch:
    """All that was read in one batch."""
    count = sum(batch.size for batch in trainee.train)
    whole = gathered(trainee.train, count)
    if whole.size != count or whole.is_fixed:
        raise NotApplicableError("the batches cannot be joined and cut anew")
    return whole


def _in_batches_of(trainee: Trainee, size: int) -> Trainee:
    whole = _whole(trainee)
    if size < 1 or whole.size <= trainee.train[0].size < size:
        raise NotApplicableError(f"only {counted(whole.size, 'example')} could be read, too few for batches of {size}")
    return replace(trainee, train=_cut(whole, min(size, whole.size)))


def _cut(whole: Batch, size: int) -> tuple[Batch, ...]:
    parts = split(whole, size)
    if parts[0].size != size:
        raise NotApplicableError("the batches cannot be joined and cut anew")
    return parts


def _shuffled(trainee: Trainee, seed: int) -> Trainee:
    import torch

    whole = _whole(trainee)
    order = torch.randperm(whole.size, generator=torch.Generator().manual_seed(seed)).tolist()
    mixed = take(whole, order)
    if mixed is whole:
        raise NotApplicableError("the batches cannot be joined and cut anew")
    return replace(trainee, train=_cut(mixed, trainee.train[0].size))


def _with_standard_inputs(trainee: Trainee) -> Trainee:
    columns = zip(*(inputs(batch) for batch in trainee.train), strict=False)
    moments = [_moments(column, _kept_axis(column[0])) if _is_measured(column[0]) else None for column in columns]
    if not any(moments):
        raise NotApplicableError("the model reads no numbers that could be standardized")

    def standard(batch: Batch) -> Batch:
        read = inputs(batch)
        return with_inputs(
            batch,
            [
                tensor if found is None else _standard(tensor, *found)
                for tensor, found in zip(read, moments, strict=False)
            ],
        )

    return replace(
        trainee, train=tuple(map(standard, trainee.train)), validation=tuple(map(standard, trainee.validation))
    )


def _is_measured(tensor: Any) -> bool:
    return bool(tensor.is_floating_point()) and tensor.ndim > 0


def _kept_axis(tensor: Any) -> int:
    """The axis of the features: channels of images, else the last."""
    return 1 if tensor.ndim > 3 else int(tensor.ndim) - 1


def _moments(tensors: Sequence[Any], axis: int) -> tuple[Any, Any]:
    """Mean and standard deviation of each feature, in a shape that broadcasts; 1 in place of the deviation of a constant one."""
    import torch

    rows = torch.cat([tensor.detach().movedim(axis, -1).reshape(-1, tensor.shape[axis]) for tensor in tensors]).double()
    mean, std = rows.mean(0), rows.std(0, correction=0)
    std = torch.where(std > _SMALLEST * (1.0 + mean.abs()), std, torch.ones_like(std))
    shape = [-1 if place == axis else 1 for place in range(tensors[0].ndim)]
    return mean.reshape(shape), std.reshape(shape)


def _standard(tensor: Any, mean: Any, std: Any) -> Any:
    return ((tensor.double() - mean) / std).to(tensor.dtype)


def _takes_differences(loss: str, targets: Sequence[Any]) -> bool:
    """By its name; of a loss of the user's own by targets that are more than zeros and ones."""
    return loss in MEASURING or (not loss and any(bool(((each != 0) & (each != 1)).any()) for each in targets))


def _with_standard_targets(trainee: Trainee) -> Trainee:
    import torch

    targets = [batch.target for batch in trainee.train]
    if not all(isinstance(each, torch.Tensor) and _is_measured(each) for each in targets) or not _takes_differences(
        trainee.loss, targets
    ):
        raise NotApplicableError("the targets are no numbers that a loss takes differences of")
    mean, std = _moments(
        [each.reshape(-1, 1) if each.ndim < 2 else each for each in targets], max(targets[0].ndim - 1, 1)
    )
    if targets[0].ndim < 2:
        mean, std = mean.reshape(1), std.reshape(1)

    def standard(batch: Batch) -> Batch:
        made = _standard(batch.target, mean, std)

        def swap(tensor: Any) -> Any:
            return made if tensor is batch.target else tensor

        args, kwargs, raw = (mapped(part, swap) for part in (batch.args, batch.kwargs, batch.raw))
        return replace(batch, args=args, kwargs=kwargs, raw=raw, target=made)

    return replace(
        trainee, train=tuple(map(standard, trainee.train)), validation=tuple(map(standard, trainee.validation))
    )
