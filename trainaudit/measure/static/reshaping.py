"""Where an axis goes when a tensor is reshaped or transposed: arithmetic of strides over known and symbolic sizes. Stdlib and `ir` only.

A symbolic size stands for a large prime of its own, so that products and quotients of sizes are products and quotients of integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from math import isqrt, prod

from trainaudit.ir.graph import Dimension, Shape

_MOST_SYMBOLS = 200


@dataclass(frozen=True, slots=True)
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

    Its new place; True if values that differ in it and values that do not share an axis (they are mixed up); False if it was cut into axes
    of its own.
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


def permuted_axis(axis: int, perm: Sequence[int]) -> int:
    """Where an axis (from the end) goes in a transpose."""
    rank = len(perm)
    return list(perm).index(axis + rank) - rank


def squeezed_axis(axis: int, rank: int, axes: Sequence[int]) -> int | None:
    """Where an axis goes when others are taken out; None if it is one of them."""
    removed = {a % rank for a in axes}
    position = axis + rank
    if position in removed:
        return None
    return axis + sum(1 for a in removed if a > position)


def unsqueezed_axis(axis: int, rank: int, axes: Sequence[int]) -> int:
    """Where an axis goes when axes (numbered in the result) are put in."""
    after = rank + len(axes)
    added = {a % after for a in axes}
    kept = [k for k in range(after) if k not in added]
    return kept[axis + rank] - after
