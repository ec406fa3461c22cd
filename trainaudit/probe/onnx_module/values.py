"""What the operators of the table share: words for values, and types of ONNX as types of torch.

A function of the table is called with a node's inputs in order (None where an optional one is absent) and with its attributes as keywords;
see `binding` for what its signature says. A tensor of ONNX is a torch tensor, a sequence a list, an absent optional None. Several
results are a tuple.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

Tensor = torch.Tensor
Ints = list[int]
"""Annotation of an input that is read on the host as a flat list; `Int`, `Floats`, `Float` and `Number` likewise."""
Int = int
Floats = list[float]
Float = float
Number = int | float

MOST_ELEMENTS = 1 << 29
"""Of a tensor that a few numbers of the file ask for (an Expand, a Tile, a Range): 2 GiB of float32."""


class UnsupportedError(ValueError):
    """A node asks for something that the table cannot do; the text is a clause about the node."""


class ExcessError(UnsupportedError):
    """A node asks for more than any model needs; no runtime is to be asked for it."""


TYPES: dict[int, torch.dtype] = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 4: torch.uint16, 5: torch.int16, 6: torch.int32, 7: torch.int64,
    9: torch.bool, 10: torch.float16, 11: torch.float64, 12: torch.uint32, 13: torch.uint64, 14: torch.complex64,
    15: torch.complex128, 16: torch.bfloat16, 17: torch.float8_e4m3fn, 18: torch.float8_e4m3fnuz, 19: torch.float8_e5m2,
    20: torch.float8_e5m2fnuz,
}  # fmt: skip
"""TensorProto.DataType → torch's type. What torch cannot hold (4-bit numbers, strings) is not here."""

NAMED_TYPES: dict[str, torch.dtype] = {str(kind).removeprefix("torch."): kind for kind in TYPES.values()}
FLOAT8 = frozenset(TYPES[number] for number in (17, 18, 19, 20))
POORLY_SUPPORTED = frozenset({torch.uint16, torch.uint32, torch.uint64})
"""Types that torch can store and hardly compute with."""


def type_of(number: int) -> torch.dtype:
    """The torch type of a TensorProto.DataType. Raises `UnsupportedError`."""
    found = TYPES.get(number)
    if found is None:
        raise UnsupportedError(f"uses the data type {number}")
    return found


def bounded(shape: Sequence[int]) -> list[int]:
    """`shape` as a list, or `ExcessError` where nobody means to allocate that much."""
    sizes = [int(size) for size in shape]
    if any(size < 0 for size in sizes):
        raise UnsupportedError(f"asks for a tensor of the shape {sizes}")
    if math.prod(sizes) > MOST_ELEMENTS:
        raise ExcessError(f"asks for a tensor of {math.prod(sizes):,} elements")
    return sizes


def broadcast(left: Sequence[int], right: Sequence[int]) -> list[int]:
    """The shape of two shapes together."""
    rank = max(len(left), len(right))
    pairs = zip([1] * (rank - len(left)) + list(left), [1] * (rank - len(right)) + list(right), strict=True)
    return [second if first == 1 else first for first, second in pairs]


def wide(tensor: Tensor) -> Tensor:
    """The tensor in a type that torch computes with."""
    return tensor.to(torch.int64) if tensor.dtype in POORLY_SUPPORTED else tensor


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -rank <= axis < max(rank, 1):
        raise UnsupportedError(f"names the axis {axis} of a tensor with {rank}")
    return axis + rank if axis < 0 else axis
