"""Stored blocks on their way to being measured: made regular, widened to float32, and looked at for their first values. Imports numpy only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.floating]

LEADING = 4
"""Leading rows and columns that are kept: enough that units of half-precision weights do not agree by chance."""

_HALF_MASK = np.int32(-0x70002000)
"""Sign, exponent and mantissa of a half-precision number that was sign-extended and moved up by 13 bits."""
_HALF_RESCALE = np.float32(2.0**112)
_HALF_INFINITY = 65536.0


def regular(blocks: Iterable[Array], elements: int) -> Iterator[Array]:
    """The same values, every block but the last of exactly `elements` (a tensor decoded from a stream gives what it has)."""
    held: list[Array] = []
    count = 0
    for block in blocks:
        if not count and block.size == elements:
            yield block
            continue
        held.append(block.copy())
        count += block.size
        if count >= elements:
            joined = np.concatenate(held)
            whole = count - count % elements
            for start in range(0, whole, elements):
                yield joined[start : start + elements]
            held, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(held)


def widened(blocks: Iterable[Array], elements: int) -> Iterator[Floats]:
    """Stored blocks of at most `elements` values as float32 or float64. One that was yielded may be overwritten by the next.

    Half-precision bits are moved into a float32's place and rescaled by a power of two, which is exact for every finite value
    (also denormals) and several times faster than numpy's own cast; a block that holds NaN or infinity takes the slow cast.
    """
    wide = np.empty(0, np.int32)
    for block in blocks:
        if block.dtype == np.float16:
            wide = wide if wide.size else np.empty(elements, np.int32)
            target = wide[: block.size]
            target[:] = block.view(np.int16)
            np.left_shift(target, 13, out=target)
            np.bitwise_and(target, _HALF_MASK, out=target)
            values = target.view(np.float32)
            np.multiply(values, _HALF_RESCALE, out=values)
            finite = float(values.max()) < _HALF_INFINITY > -float(values.min())
            yield values if finite else block.astype(np.float32)
        elif block.dtype == np.uint16:  # bfloat16: the upper half of a float32
            wide = wide if wide.size else np.empty(elements, np.int32)
            target = wide[: block.size]
            target[:] = block
            np.left_shift(target, 16, out=target)
            yield target.view(np.float32)
        else:
            yield cast(Floats, block)


class LeadingValues:
    """Keeps the stored bits of the first rows and columns while the blocks go by."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.first_rows: Array | None = None
        self._parts: list[Array] = []

    def watch(self, blocks: Iterable[Array]) -> Iterator[Array]:
        for block in blocks:
            if block.size % self.columns == 0:
                matrix = block.reshape(-1, self.columns)
                if self.first_rows is None:
                    self.first_rows = matrix[:LEADING].copy()
                self._parts.append(matrix[:, :LEADING].copy())
            yield block

    def first_columns(self) -> Array | None:
        return np.concatenate(self._parts) if self._parts else None
