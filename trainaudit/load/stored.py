"""Stored tensors that stay in their file until they are asked for. Stdlib, numpy and ir only.

All of them are `ir.graph.TensorData` and also offer two cheap ways to look at a part:

- `read_range(start, stop)`: the flat values from `start` to `stop`, as a new array of the types that `blocks` yields;
- `sample(positions)`: the flat values at increasing `positions` (int64), reading only the stretches of the file around them.

What `blocks`, `read_range` and `sample` yield: numpy's own type; bool for bool; bfloat16 as uint16 bits; float8, float6 and
float4 as float32; int4 and int2 as int8, uint4 and uint2 as uint8; strings as an object array of str.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from trainaudit.frozen import frozen
from trainaudit.ir.tensor import widen_bfloat16
from trainaudit.load.datafile import DataFile
from trainaudit.load.datatypes import Array, DataType, decoder

Positions = npt.NDArray[np.int64]

_READ_AHEAD = 16 << 10
"""Positions that lie closer than this many bytes are read in one piece: a system call costs about as much as copying it."""

_PIECE = 1 << 20


@frozen
class MemoryBytes:
    """Bytes that were small enough to be kept."""

    content: bytes

    def read_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.content[offset : offset + buffer.nbytes]


@frozen
class FileBytes:
    """A stretch of a file."""

    file: DataFile
    start: int

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.file.read_into(self.start + offset, buffer)


@frozen
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
        if elements % kind.group and elements < self.size:  # a block would start inside a byte
            for start in range(0, self.size, elements):
                yield self.read_range(start, start + elements)
            return
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
            return values_of(kind, np.empty(0, np.uint8), 0, 0)
        first = start - start % kind.group
        begin = kind.byte_count(first)
        if isinstance(self.source, MemoryBytes) and decoder(kind) is None:
            return np.frombuffer(self.source.content, kind.stored, stop - start, begin).copy()
        part = np.empty(kind.byte_count(stop) - begin, np.uint8)
        self.source.read_into(begin, part.data)
        return values_of(kind, part, start - first, stop - first)

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


def values_of(kind: DataType, octets: npt.NDArray[np.uint8], start: int, stop: int) -> Array:
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


@frozen
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
