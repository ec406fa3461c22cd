"""Sequences (lists of tensors) and optionals (None where absent)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from trainaudit.probe.onnx_module.values import Int, Tensor, UnsupportedError, axis_of

Sequence = list[Tensor]


def _at(input_sequence: Sequence, position: Int) -> Tensor:
    return input_sequence[position]


def _construct(*inputs: Tensor) -> Sequence:
    return list(inputs)


def _empty(*, dtype: int = 1) -> Sequence:
    del dtype
    return []


def _insert(input_sequence: Sequence, tensor: Tensor, position: Int | None = None) -> Sequence:
    count = len(input_sequence)
    place = count if position is None else position
    if not -count <= place <= count:
        raise UnsupportedError(f"inserts at {place} into a sequence of {count}")
    made = list(input_sequence)
    made.insert(place + count if place < 0 else place, tensor)
    return made


def _erase(input_sequence: Sequence, position: Int | None = None) -> Sequence:
    made = list(input_sequence)
    del made[-1 if position is None else position]
    return made


def _length(input_sequence: Sequence) -> Tensor:
    return torch.tensor(len(input_sequence), dtype=torch.int64)


def _concat(input_sequence: Sequence, *, axis: int, new_axis: int = 0) -> Tensor:
    return torch.stack(input_sequence, axis) if new_axis else torch.cat(input_sequence, axis)


def _split(input: Tensor, split: Tensor | None = None, *, axis: int = 0, keepdims: int = 1) -> Sequence:
    axis = axis_of(axis, input.dim())
    if split is None:
        pieces = list(torch.split(input, 1, axis))
        return pieces if keepdims else [piece.squeeze(axis) for piece in pieces]
    lengths = int(split) if split.dim() == 0 else split.tolist()
    return list(torch.split(input, lengths, axis))


def _optional(input: Any = None, *, type: Any = None) -> Any:
    del type
    return input


def _has_element(input: Any = None) -> Tensor:
    return torch.tensor(input is not None)


def _get_element(input: Any) -> Any:
    if input is None:
        raise UnsupportedError("reads an empty optional")
    return input


OPERATORS: dict[str, Callable[..., Any]] = {
    "SequenceAt": _at, "SequenceConstruct": _construct, "SequenceEmpty": _empty, "SequenceInsert": _insert, "SequenceErase": _erase,
    "SequenceLength": _length, "ConcatFromSequence": _concat, "SplitToSequence": _split, "Optional": _optional,
    "OptionalHasElement": _has_element, "OptionalGetElement": _get_element,
}  # fmt: skip
