"""Parts of batches: some of the examples, and the same examples with inputs that say nothing. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trainaudit.probe.structures import mapped, tensors_in
from trainaudit.probe.trainee import Batch, Trainee

_NO_INPUT = ("label", "target", "mask", "position", "length")
"""Keywords of a model that are no inputs to be zeroed: answers, and what says which elements count."""


def inputs(batch: Batch) -> list[Any]:
    """The tensors that the model reads as inputs, in order. Targets among its keywords, masks and positions are none."""
    found: list[Any] = []
    answers = [tensor for _, tensor in tensors_in(batch.target)]
    for name, tensor in (*tensors_in(batch.args), *tensors_in(batch.kwargs)):
        is_other = any(word in name.lower() for word in _NO_INPUT) or any(tensor is answer for answer in answers)
        if not is_other and not any(tensor is other for other in found):
            found.append(tensor)
    return found


def with_inputs(batch: Batch, changed: Sequence[Any]) -> Batch:
    """The batch with other tensors in place of `inputs(batch)`, in the same order; in the raw batch too, where they are the same tensors."""
    old = inputs(batch)

    def swap(tensor: Any) -> Any:
        return next((new for was, new in zip(old, changed, strict=True) if tensor is was), tensor)

    return replace(batch, args=mapped(batch.args, swap), kwargs=mapped(batch.kwargs, swap), raw=mapped(batch.raw, swap))


def zeroed(batch: Batch) -> Batch:
    """The batch with all inputs 0, token ids too: only the targets differ between its examples."""
    import torch

    return with_inputs(
        batch, [tensor if tensor.dtype == torch.bool else torch.zeros_like(tensor) for tensor in inputs(batch)]
    )


def batch_axis(tensor: Any, size: int) -> int | None:
    """The axis that counts examples: the first, else the second (sequences that come time first); None where neither has `size`."""
    return next((axis for axis in range(min(tensor.ndim, 2)) if tensor.shape[axis] == size), None)


def take(batch: Batch, wanted: Sequence[int]) -> Batch:
    """The examples with these indices, as often as they are named. The batch as it is where that is another number and its size is fixed, or
    where its inputs cannot be told apart by example."""
    import torch

    if batch.is_fixed and len(wanted) != batch.size:
        return batch
    read = inputs(batch) or [tensor for _, tensor in tensors_in(batch.raw)]
    if not read or not all(batch_axis(tensor, batch.size) is not None for tensor in read):
        return batch
    made: dict[int, Any] = {}  # one tensor in several places stays one

    def chosen(tensor: Any) -> Any:
        if id(tensor) not in made:
            axis = batch_axis(tensor, batch.size)
            index = torch.as_tensor(list(wanted), dtype=torch.long, device=tensor.device)
            made[id(tensor)] = tensor if axis is None else tensor.index_select(axis, index)
        return made[id(tensor)]

    args, kwargs, target, raw = (mapped(part, chosen) for part in (batch.args, batch.kwargs, batch.target, batch.raw))
    return replace(batch, args=args, kwargs=kwargs, target=target, raw=raw, size=len(wanted))


def gathered(batches: Sequence[Batch], count: int) -> Batch:
    """One batch of at least `count` examples: the first, or where that has fewer the first ones joined. The first as it is where they cannot be."""
    import torch

    chosen, size = [], 0
    for batch in batches:
        chosen.append(batch)
        size += batch.size
        if size >= count:
            break
    first = chosen[0]
    if len(chosen) == 1 or first.is_fixed:
        return first
    tensors = [_tensors(batch) for batch in chosen]
    axes = [batch_axis(tensor, first.size) for tensor in tensors[0]]
    try:
        whole = [
            torch.cat(parts, axis)
            for axis, parts in zip(axes, zip(*tensors, strict=True), strict=True)
            if axis is not None
        ]
    except (RuntimeError, ValueError, TypeError):
        return first  # sequences of different lengths, or batches that differ in what they hold
    if len(whole) != len(axes):
        return first
    made = {id(tensor): joined for tensor, joined in zip(tensors[0], whole, strict=True)}
    args, kwargs, target, raw = (
        mapped(part, lambda tensor: made[id(tensor)]) for part in (first.args, first.kwargs, first.target, first.raw)
    )
    return replace(first, args=args, kwargs=kwargs, target=target, raw=raw, size=size)


def versions(batch: Batch) -> list[int]:
    """How often each of its tensors has been written to."""
    return [tensor._version for tensor in _tensors(batch)]


def _tensors(batch: Batch) -> list[Any]:
    found = {
        id(tensor): tensor
        for part in (batch.args, batch.kwargs, batch.target, batch.raw)
        for _, tensor in tensors_in(part)
    }
    return list(found.values())


def split(batch: Batch, size: int) -> tuple[Batch, ...]:
    """Batches of `size` examples; a rest that is smaller is left out. The batch alone where it is no larger, or cannot be cut."""
    if size >= batch.size:
        return (batch,)
    parts = tuple(take(batch, range(start, start + size)) for start in range(0, batch.size - size + 1, size))
    return parts if parts[0] is not batch else (batch,)


def cloned(batch: Batch) -> Batch:
    """The batch with tensors of its own."""
    made: dict[int, Any] = {}

    def clone(tensor: Any) -> Any:
        if id(tensor) not in made:
            made[id(tensor)] = tensor.clone()
        return made[id(tensor)]

    args, kwargs, target, raw = (mapped(part, clone) for part in (batch.args, batch.kwargs, batch.target, batch.raw))
    return replace(batch, args=args, kwargs=kwargs, target=target, raw=raw)


def of_fixed_size(trainee: Trainee) -> Trainee:
    train, validation = (
        tuple(replace(batch, is_fixed=True) for batch in all_) for all_ in (trainee.train, trainee.validation)
    )
    return replace(trainee, train=train, validation=validation)


def in_batches_of(trainee: Trainee, size: int) -> Trainee:
    """The trainee with its batches cut into smaller ones."""
    train, validation = (
        tuple(part for batch in all_ for part in split(batch, size)) for all_ in (trainee.train, trainee.validation)
    )
    return replace(trainee, train=train, validation=validation)
