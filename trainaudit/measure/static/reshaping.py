"""Where an axis goes when a tensor is reshaped or transposed: arithmetic of strides over known and symbolic sizes. Stdlib and `ir` only.

A symbolic size stands for a large prime of its own, so that products and quotients of sizes are products and quotients of integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from math import isqrt, prod

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Dimension, Layer, Shape
from trainaudit.ir.ops import ACTIVATIONS, DROPOUTS, NORMALIZATIONS, Op

_MOST_SYMBOLS = 200

ELEMENTWISE = (
    ACTIVATIONS
    | DROPOUTS
    | NORMALIZATIONS
    | {
        Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.POW, Op.NEG, Op.ABS, Op.EXP, Op.LOG, Op.SQRT, Op.RECIPROCAL, Op.ERF, Op.SIN, Op.COS,
        Op.TRIGONOMETRIC, Op.CLIP, Op.MIN, Op.MAX, Op.MOD, Op.MEAN, Op.SIGN, Op.ROUND, Op.FLOOR, Op.CEIL, Op.COMPARE, Op.LOGICAL,
        Op.BITWISE, Op.IS_FINITE, Op.IDENTITY, Op.DETACH, Op.ROTARY, Op.CAST, Op.QUANTIZE, Op.DEQUANTIZE, Op.WHERE, Op.CUMSUM, Op.TRIANGLE, Op.EXPAND,
        Op.TILE, Op.PAD,
    }
)  # fmt: skip
"""Layers that keep every axis in its place, counted from the end."""

IMAGE = frozenset(
    {
        Op.CONV, Op.CONV_TRANSPOSE, Op.MAX_POOL, Op.AVERAGE_POOL, Op.LP_POOL, Op.GLOBAL_MAX_POOL, Op.GLOBAL_AVERAGE_POOL, Op.RESIZE,
        Op.DEPTH_TO_SPACE, Op.SPACE_TO_DEPTH,
    }
)  # fmt: skip
"""Layers on (batch, channels, positions …)."""

REDUCTIONS = frozenset(
    {
        Op.REDUCE_MEAN, Op.REDUCE_SUM, Op.REDUCE_MAX, Op.REDUCE_MIN, Op.REDUCE_PRODUCT, Op.REDUCE_L1, Op.REDUCE_L2,
        Op.REDUCE_SUM_SQUARE, Op.REDUCE_LOG_SUM_EXP,
    }
)  # fmt: skip

MOVING = REDUCTIONS | {Op.TRANSPOSE, Op.SQUEEZE, Op.UNSQUEEZE, Op.GATHER}
"""Layers that `moved_axis` follows."""


@frozen
class Part:
    """Part of an axis (counted from the end): the axis has size left · size · right and the part's index is the middle digit."""

    axis: int
    left: int
    right: int


class Sizes:
    """Sizes of dimensions as integers: symbols become primes above a million, one per name."""

    def __init__(self) -> None:
        self._symbols: dict[str, int] = {}
        self._primes = _primes_above(1_000_000)

    def of(self, dimension: Dimension) -> int | None:
        """The size of a dimension; a product such as "batch*4" is taken apart. None if it is not known."""
        if dimension is None or isinstance(dimension, int):
            return dimension
        size = 1
        for factor in dimension.split("*"):
            word = factor.strip()
            if word.isdecimal():
                size *= int(word)
            elif word.isidentifier():
                if word not in self._symbols:
                    if len(self._symbols) >= _MOST_SYMBOLS:
                        return None
                    self._symbols[word] = next(self._primes)
                size *= self._symbols[word]
            else:
                return None
        return size

    def all_of(self, shape: Shape | None) -> tuple[int, ...] | None:
        """All sizes of a shape, None if one is not known or zero."""
        if shape is None:
            return None
        sizes = [self.of(dimension) for dimension in shape]
        return tuple(s for s in sizes if s) if all(sizes) else None

    def reshaped(self, before: tuple[int, ...], shape: Shape | None) -> tuple[int, ...] | None:
        """Sizes of a reshaped tensor; one unknown size follows from the number of elements."""
        if shape is None:
            return None
        sizes = [self.of(dimension) for dimension in shape]
        total = prod(before)
        unknown = [k for k, size in enumerate(sizes) if not size]
        if len(unknown) > 1:
            return None
        known = prod(size for size in sizes if size)
        if unknown:
            if total % known:
                return None
            sizes[unknown[0]] = total // known
        elif known != total:
            return None
        return tuple(size for size in sizes if size)


def _primes_above(start: int) -> Iterator[int]:
    for candidate in count(start + 1):
        if all(candidate % divisor for divisor in range(2, isqrt(candidate) + 1)):
            yield candidate


def moved_part(before: Sequence[int], after: Sequence[int], part: Part, size: int) -> Part | bool:
    """Where a part of `size` values goes when a tensor of sizes `before` is viewed with sizes `after`.

    Its new place; True if values that differ in it and values that do not share an axis (they are mixed up); False if it was cut: into axes of
    its own where `is_cut_apart`.
    """
    position = part.axis + len(before)
    stride = part.right * prod(before[position + 1 :])
    span = stride * size
    below = 1
    mixed = False
    for k in range(len(after) - 1, -1, -1):
        above = below * after[k]
        if stride % below == 0 and above % span == 0:
            return Part(k - len(after), above // span, stride // below)
        if below < stride < above:
            mixed = True
        below = above
    return mixed


def is_cut_apart(before: Sequence[int], after: Sequence[int], part: Part, size: int) -> bool:
    """Whether each border that a view draws through a part divides it evenly: a batch in groups."""
    stride = part.right * prod(before[part.axis + len(before) + 1 :])
    span = stride * size
    borders = (prod(after[k:]) for k in range(len(after)))
    return all(border % stride == 0 and span % border == 0 for border in borders if stride < border < span)


def is_replaced(before: Sequence[int], after: Sequence[int], size: int) -> bool:
    """Whether a view borders off a new first axis of `size` values: (time, batch, features) viewed as (batch, time, features). What stands
    there then are steps, not samples."""
    if len(after) < 2 or after[0] != size:
        return False
    border = prod(after[1:])
    return all(prod(before[k:]) != border for k in range(len(before)))


def moved_axis(layer: Layer, shape: Shape, result: Shape | None, axis: int) -> int | None:
    """Where an axis (from the end) goes in a transpose, a squeeze, an unsqueeze, a reduction or a gather; None where it disappears or
    cannot be followed."""
    op, attributes, rank = layer.op, layer.attributes, len(shape)
    if -axis > rank:
        return None
    if op is Op.TRANSPOSE:
        perm = attributes.get("perm")
        return (
            perm.index(axis + rank) - rank
            if isinstance(perm, tuple) and len(perm) == rank and axis + rank in perm
            else None
        )
    if op is Op.GATHER:
        dim = attributes.get("dim")
        if not isinstance(dim, int) or result is None or dim % rank == axis + rank:
            return None
        shift = len(result) - rank if axis + rank > dim % rank else 0
        return axis + rank + shift - len(result)
    axes = attributes.get("axes")
    if not isinstance(axes, tuple):
        return None
    if op is Op.UNSQUEEZE:
        after = rank + len(axes)
        added = {int(a) % after for a in axes}
        kept = [k for k in range(after) if k not in added]
        return kept[axis + rank] - after if len(kept) == rank else None
    removed = {int(a) % rank for a in axes}
    if axis + rank in removed:
        return None
    if op in REDUCTIONS and attributes.get("keepdim"):
        return axis
    return axis + sum(1 for a in removed if a > axis + rank)
