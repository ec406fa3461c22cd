"""A walk over the protobuf wire format of an ONNX file. Stdlib only.

The official classes give the file its meaning; this walk only finds where messages start and end (length-delimited fields, see
https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainaudit.load.datafile import DataFile

MODEL, GRAPH, NODE, ATTRIBUTE, TENSOR, SPARSE, FUNCTION = range(7)

INSIDE: tuple[dict[int, int], ...] = (
    {},  # the model is walked by `pieces`
    {1: NODE, 5: TENSOR, 15: SPARSE},
    {5: ATTRIBUTE},
    {5: TENSOR, 6: GRAPH, 10: TENSOR, 11: GRAPH, 22: SPARSE, 23: SPARSE},
    {},
    {1: TENSOR, 2: TENSOR},
    {7: NODE, 11: ATTRIBUTE},
)
"""Field number -> kind of message, for the messages that can hold tensors."""

WINDOW = 64 << 10
DEEPEST = 100  # messages in messages, protobuf's own limit
MOST_FIELDS = 2_000_000
_MOST_STEPS = 10_000_000
"""Fields that the walk may pass, some seconds of work: half a million nodes have fewer."""


class WireError(ValueError):
    """The bytes are no protobuf message of ONNX. `needed` is the least size of the file where a message ends
    after the file does."""

    def __init__(self, what: str, needed: int | None = None) -> None:
        super().__init__(what)
        self.needed = needed


class TooDeepError(WireError):
    """Messages are nested deeper than protobuf allows."""


class TooLargeError(WireError):
    """One message is too large even without its weights."""


class Window:
    """The bytes around a position, refilled as the walk goes on."""

    __slots__ = ("base", "content", "file", "steps")

    def __init__(self, file: DataFile) -> None:
        self.file = file
        self.base = 0
        self.content = b""
        self.steps = 0

    def spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > _MOST_STEPS:
            raise TooLargeError(f"it has more than {_MOST_STEPS:,} parts")

    def at(self, position: int) -> tuple[bytes, int]:
        """Content that holds at least 24 bytes from `position` (or all there are), and the offset of its first byte."""
        self.content = self.file.read(position, min(WINDOW, self.file.size - position))
        self.base = position
        return self.content, position

    def slice(self, start: int, stop: int) -> bytes:
        begin = start - self.base
        if begin >= 0 and stop - self.base <= len(self.content):
            return self.content[begin : stop - self.base]
        return self.file.read(start, stop - start)


Entry = tuple[int, int, int, int, int]
"""(field number, wire type, start of the field with its tag, start of its payload, end)."""


def entries(window: Window, position: int, end: int) -> Iterator[Entry]:
    """The fields of the message between `position` and `end`. Every step moves on by a byte at least."""
    content, base = window.content, window.base
    steps = 0
    while position < end:
        steps += 1
        index = position - base
        if index < 0 or index + 24 > len(content):
            content, base = window.content, window.base
            index = position - base
            if index < 0 or (index + 24 > len(content) and base + len(content) < window.file.size):
                content, base = window.at(position)
                index = 0
                window.spend(steps)
                steps = 0
        try:
            tag = content[index]
            index += 1
            if tag > 127:
                tag, index = varint(content, index - 1)
            wire = tag & 7
            if wire == 2:
                length = content[index]
                index += 1
                if length > 127:
                    length, index = varint(content, index - 1)
                payload = base + index
                stop = payload + length
            else:
                payload = base + index
                if wire == 0:
                    stop = base + varint(content, index)[1]
                elif wire == 5:
                    stop = payload + 4
                elif wire == 1:
                    stop = payload + 8
                else:
                    raise WireError(f"a field has the wire type {wire}")
        except IndexError:
            raise WireError("a field is cut off", needed=end + 1 if end == window.file.size else None) from None
        if tag < 8:
            raise WireError("a field has the number 0")
        if stop > end:
            raise WireError("a field ends after its message", needed=stop if end == window.file.size else None)
        yield tag >> 3, wire, position, payload, stop
        position = stop
    window.spend(steps)


def varint(content: bytes, index: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[index]
        index += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, index
        shift += 7
        if shift > 63:
            raise WireError("a number is longer than ten bytes")


def survey(content: bytes, kind: int) -> tuple[int, int]:
    """(how deep messages are nested in `content`, how many fields with a length it has), as far as it can be walked.

    Stops a little past the limits of either: an empty message takes two bytes in a file and hundreds in memory.
    """
    deepest = fields = 0
    stack = [(kind, content, 1)]
    while stack:
        kind, content, depth = stack.pop()
        deepest = max(deepest, depth)
        if depth > DEEPEST:
            break
        position = 0
        try:
            while position < len(content) and fields <= MOST_FIELDS:
                if kind == ATTRIBUTE:
                    position = _numbers_end(content, position)
                    if position == len(content):
                        break
                tag, position = varint(content, position)
                if tag & 7 == 2:
                    fields += 1
                    length, position = varint(content, position)
                    inner = INSIDE[kind].get(tag >> 3)
                    if inner is not None:
                        stack.append((inner, content[position : position + length], depth + 1))
                    position += length
                else:
                    position = varint(content, position)[1] if tag & 7 == 0 else position + (4 if tag & 7 == 5 else 8)
        except (IndexError, WireError):
            continue
    return deepest, fields


_NUMBERS = re.compile(rb"(?:\x3d.{4}|\x40[\x80-\xff]{0,9}[\x00-\x7f])*+", re.DOTALL)
"""Elements of `floats` and `ints`, which ONNX does not pack: a tree ensemble holds millions in one attribute."""


def _numbers_end(content: bytes, position: int) -> int:
    found = _NUMBERS.match(content, position)
    return found.end() if found is not None else position
