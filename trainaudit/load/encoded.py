"""Stored tensors that are not laid out flat in the file: packed varints and sparse values. They offer what `stored` offers.

Stdlib, numpy, ir and the rest of load.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.ir.tensor import widen_bfloat16
from trainaudit.load.datafile import DataFile
from trainaudit.load.datatypes import Array, DataType, decoder
from trainaudit.load.stored import Positions, StoredTensor, values_of

_PIECE = 1 << 20


@frozen
class VarintTensor:
    """Values in a packed varint field (int32_data, int64_data, uint64_data) that was too big to keep: decoded as a stream.

    The number of values is known only when they are read; that it can be right (one to ten bytes each) is checked before.
    """

    shape: tuple[int, ...]
    kind: DataType
    file: DataFile
    start: int
    length: int
    size: int

    @property
    def dtype(self) -> str:
        return self.kind.name

    @property
    def nbytes(self) -> int:
        return self.length

    def blocks(self, elements: int) -> Iterator[Array]:
        elements = max(elements, 1)
        pieces: list[Array] = []
        waiting = 0
        for values in self._values():
            pieces.append(values)
            waiting += values.size
            if waiting < elements:
                continue
            together = np.concatenate(pieces)
            whole = waiting - waiting % elements
            for start in range(0, whole, elements):
                yield together[start : start + elements]
            pieces, waiting = [together[whole:]], waiting - whole
        if waiting:
            yield np.concatenate(pieces)

    def _values(self) -> Iterator[Array]:
        """The values as they are decoded, in pieces of any size. Raises `TrainauditError` unless there are `size` of them."""
        decode = decoder(self.kind)
        done = 0
        for words in self._words():
            values = words if decode is None else decode(words)
            if done + values.size >= self.size + self.kind.group:
                raise miscounted(self.file.name)
            values = values[: self.size - done]
            done += values.size
            yield values
        if done != self.size:
            raise miscounted(self.file.name)

    def _words(self) -> Iterator[Array]:
        """The varints in order, as the stored type."""
        rest = np.empty(0, np.uint8)
        position, end = self.start, self.start + self.length
        while position < end:
            count = min(_PIECE, end - position)
            octets = np.empty(rest.size + count, np.uint8)
            octets[: rest.size] = rest
            self.file.read_into(position, octets[rest.size :].data)
            position += count
            numbers, used = decode_varints(octets)
            rest = octets[used:]
            if rest.size > 10:
                raise miscounted(self.file.name)
            yield narrow(numbers, self.kind)

    def read_range(self, start: int, stop: int) -> Array:
        pieces, done = [], 0
        for values in self._values():
            if done >= stop:
                break
            pieces.append(np.array(values[max(0, start - done) : max(0, stop - done)]))
            done += values.size
        return np.concatenate(pieces) if pieces else values_of(self.kind, np.empty(0, np.uint8), 0, 0)

    def sample(self, positions: Positions) -> Array:
        pieces, done, taken = [], 0, 0
        for values in self._values():
            upto = int(np.searchsorted(positions, done + values.size))
            pieces.append(values[positions[taken:upto] - done])
            done, taken = done + values.size, upto
            if taken == positions.size:
                break
        return np.concatenate(pieces) if pieces else self.read_range(0, 0)

    def read(self) -> Array:
        values = self.read_range(0, self.size).reshape(self.shape)
        return widen_bfloat16(values) if self.kind.name == "bfloat16" else values


def miscounted(name: str) -> TrainauditError:
    return TrainauditError(
        "tensor-size-mismatch",
        f"A tensor in {name} holds another number of values than its shape says.",
        "The file is damaged or was made by a faulty exporter: export the model again.",
    )


def decode_varints(octets: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint64], int]:
    """Base-128 numbers, least significant group first, and how many bytes the complete ones take. Bits past the 64th drop."""
    ends = np.flatnonzero(octets < 0x80)
    if ends.size == 0:
        return np.empty(0, np.uint64), 0
    starts = np.empty_like(ends)
    starts[0] = 0
    starts[1:] = ends[:-1] + 1
    lengths = ends - starts + 1
    numbers = np.zeros(ends.size, np.uint64)
    for index in range(min(int(lengths.max()), 10)):
        longer = np.flatnonzero(lengths > index)
        groups = (octets[starts[longer] + index] & 0x7F).astype(np.uint64)
        numbers[longer] |= groups << np.uint64(7 * index)
    return numbers, int(ends[-1]) + 1


def narrow(numbers: Array, kind: DataType) -> Array:
    """64-bit varints as the stored type: the low bytes, little-endian (negative numbers are sign-extended in a varint)."""
    width = np.dtype(kind.stored).itemsize
    low = numbers.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :width]
    return np.ascontiguousarray(low).view(kind.stored).reshape(-1)


@frozen
class SparseTensor:
    """A sparse initializer, read as if it were dense: zeros, with `values` at the flat, increasing `positions`."""

    shape: tuple[int, ...]
    values: StoredTensor | VarintTensor
    positions: Positions
    size: int

    @property
    def dtype(self) -> str:
        return self.values.dtype

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.positions.nbytes

    def blocks(self, elements: int) -> Iterator[Array]:
        stored = self.values.read_range(0, self.values.size)
        for start in range(0, self.size, elements):
            yield self._dense(stored, start, min(start + elements, self.size))

    def _dense(self, stored: Array, start: int, stop: int) -> Array:
        first, last = np.searchsorted(self.positions, [start, stop])
        block: npt.NDArray[Any] = np.zeros(stop - start, stored.dtype)
        block[self.positions[first:last] - start] = stored[first:last]
        return block

    def read_range(self, start: int, stop: int) -> Array:
        start, stop = max(0, min(start, self.size)), max(0, min(stop, self.size))
        return self._dense(self.values.read_range(0, self.values.size), start, max(start, stop))

    def sample(self, positions: Positions) -> Array:
        stored = self.values.read_range(0, self.values.size)
        picked: npt.NDArray[Any] = np.zeros(positions.size, stored.dtype)
        where = np.searchsorted(self.positions, positions)
        inside = np.flatnonzero(where < self.positions.size)
        hits = inside[self.positions[where[inside]] == positions[inside]]
        picked[hits] = stored[where[hits]]
        return picked

    def read(self) -> Array:
        values = self.read_range(0, self.size).reshape(self.shape)
        return widen_bfloat16(values) if self.dtype == "bfloat16" else values
