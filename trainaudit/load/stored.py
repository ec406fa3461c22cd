"""Stored tensors that stay in their file until they are asked for. Stdlib, numpy and ir only.

All of them are `ir.graph.TensorData` and also offer two cheap ways to look at a part:

- `read_range(start, stop)`: the flat values from `start` to `stop`, as a new array of the types that `blocks` yields;
- `sample(positions)`: the flat values at increasing `positions` (int64), reading only the stretches of the file around them.

What `blocks`, `read_range` and `sample` yield: numpy's own type; bool for bool; bfloat16 as uint16 bits; float8, float6 and
float4 as float32; int4 and int2 as int8, uint4 and uint2 as uint8; strings as an object array of str.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainaudit.ir.tensor import widen_bfloat16
from trainaudit.load.datafile import DataFile, changed
from trainaudit.load.datatypes import Array, DataType, decoder

Positions = npt.NDArray[np.int64]

_READ_AHEAD = 16 << 10
"""Positions that lie closer than this many bytes are read in one piece: a system call costs about as much as copying it."""

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class MemoryBytes:
    """Bytes that were small enough to be kept."""

    content: bytes

    def read_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.content[offset : offset + buffer.nbytes]


@dataclass(frozen=True, slots=True)
class FileBytes:
    """A stretch of a file."""

    file: DataFile
    start: int

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.file.read_into(self.start + offset, buffer)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Fixed-width values, little-endian and packed as in raw_data. Whoever makes one has checked that the bytes are there."""

    shape: tuple[int, ...]
    kind: DataType
    source: MemoryBytes | FileBytes
    size: int
    """Number of elements."""

    @property
    def dtype(self) -> str:
        return self.kind.name

    @property
    def nbytes(self) -> int:
        return self.kind.byte_count(self.size)

    def blocks(self, elements: int) -> Iterator[Array]:
        kind, source = self.kind, self.source
        elements = min(max(elements, 1), max(self.size, 1))
        elements += -elements % kind.group
        decode = decoder(kind)
        if isinstance(source, MemoryBytes) and decode is None:
            values = np.frombuffer(source.content, kind.stored, self.size)
            for start in range(0, self.size, elements):
                yield values[start : start + elements]
            return
        buffer = np.empty(kind.byte_count(elements), np.uint8)
        for start in range(0, self.size, elements):
            count = min(elements, self.size - start)
            part = buffer[: kind.byte_count(count)]
            source.read_into(kind.byte_count(start), part.data)
            words = part.view(kind.stored)
            yield words if decode is None else decode(words)[:count]

    def read_range(self, start: int, stop: int) -> Array:
        kind = self.kind
        start, stop = max(0, min(start, self.size)), max(0, min(stop, self.size))
        if stop <= start:
            return _values(kind, np.empty(0, np.uint8), 0, 0)
        first = start - start % kind.group
        begin = kind.byte_count(first)
        part = np.empty(kind.byte_count(stop) - begin, np.uint8)
        self.source.read_into(begin, part.data)
        return _values(kind, part, start - first, stop - first)

    def sample(self, positions: Positions) -> Array:
        reach = max(1, _READ_AHEAD * 8 // self.kind.bits)
        longest = max(1, _PIECE * 8 // self.kind.bits)
        pieces = [
            self.read_range(int(run[0]), int(run[-1]) + 1)[run - run[0]] for run in _runs(positions, reach, longest)
        ]
        return np.concatenate(pieces) if pieces else self.read_range(0, 0)

    def read(self) -> Array:
        values = self.read_range(0, self.size).reshape(self.shape)
        return widen_bfloat16(values) if self.kind.name == "bfloat16" else values


def _values(kind: DataType, octets: npt.NDArray[np.uint8], start: int, stop: int) -> Array:
    words = octets.view(kind.stored)
    decode = decoder(kind)
    return words[start:stop] if decode is None else decode(words)[start:stop]


def _runs(positions: Positions, reach: int, longest: int) -> Iterator[Positions]:
    """Cut increasing positions where a gap exceeds `reach`, and where a run grows longer than `longest`."""
    if positions.size == 0:
        return
    for run in np.split(positions, np.flatnonzero(np.diff(positions) > reach) + 1):
        while run[-1] - run[0] >= longest:
            cut = int(np.searchsorted(run, run[0] + longest))
            yield run[:cut]
            run = run[cut:]
        yield run


@dataclass(frozen=True, slots=True)
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
        done = 0
        decode = decoder(self.kind)
        for words in self._words():
            values = words if decode is None else decode(words)
            values = values[: self.size - done]
            done += values.size
            for start in range(0, values.size, elements):
                yield values[start : start + elements]
        if done != self.size:
            raise changed(self.file.name)

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
                raise changed(self.file.name)
            yield narrow(numbers, self.kind)

    def read_range(self, start: int, stop: int) -> Array:
        pieces, done = [], 0
        for values in self.blocks(_PIECE):
            if done >= stop:
                break
            pieces.append(np.array(values[max(0, start - done) : max(0, stop - done)]))
            done += values.size
        return np.concatenate(pieces) if pieces else _values(self.kind, np.empty(0, np.uint8), 0, 0)

    def sample(self, positions: Positions) -> Array:
        pieces, done, taken = [], 0, 0
        for values in self.blocks(_PIECE):
            upto = int(np.searchsorted(positions, done + values.size))
            pieces.append(values[positions[taken:upto] - done])
            done, taken = done + values.size, upto
            if taken == positions.size:
                break
        return np.concatenate(pieces) if pieces else self.read_range(0, 0)

    def read(self) -> Array:
        values = self.read_range(0, self.size).reshape(self.shape)
        return widen_bfloat16(values) if self.kind.name == "bfloat16" else values


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


@dataclass(frozen=True, slots=True)
class StringTensor:
    """Strings of a TensorProto, decoded from UTF-8 with errors replaced."""

    shape: tuple[int, ...]
    content: tuple[bytes, ...]

    @property
    def dtype(self) -> str:
        return "string"

    @property
    def nbytes(self) -> int:
        return sum(map(len, self.content))

    def blocks(self, elements: int) -> Iterator[Array]:
        for start in range(0, len(self.content), elements):
            yield self.read_range(start, start + elements)

    def read_range(self, start: int, stop: int) -> Array:
        return np.array([text.decode(errors="replace") for text in self.content[start:stop]], dtype=object)

    def sample(self, positions: Positions) -> Array:
        return self.read_range(0, len(self.content))[positions]

    def read(self) -> Array:
        return self.read_range(0, len(self.content)).reshape(self.shape)


@dataclass(frozen=True, slots=True)
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
