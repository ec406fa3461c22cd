"""A walk over the protobuf wire format of an ONNX file that leaves the weights where they are. Stdlib only.

The official classes give the file its meaning; this walk only finds where messages start and end (length-delimited fields, see
https://protobuf.dev/programming-guides/encoding), cuts every large payload of a tensor out and puts a marker in its place, and
hands on pieces of at most about a megabyte. Concatenated fields of a message are that message, so each piece is parsed alone:
neither the weights nor the whole parsed file are ever in memory.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from trainaudit.load.datafile import DataFile
from trainaudit.load.datatypes import (
    DOUBLE_DATA,
    FLOAT_DATA,
    INT32_DATA,
    INT64_DATA,
    RAW_DATA,
    STRING_DATA,
    UINT64_DATA,
)

MODEL, GRAPH, NODE, ATTRIBUTE, TENSOR, SPARSE, FUNCTION = range(7)

_INSIDE: tuple[dict[int, int], ...] = (
    {},  # the model is walked by `pieces`
    {1: NODE, 5: TENSOR, 15: SPARSE},
    {5: ATTRIBUTE},
    {5: TENSOR, 6: GRAPH, 10: TENSOR, 11: GRAPH, 22: SPARSE, 23: SPARSE},
    {},
    {1: TENSOR, 2: TENSOR},
    {7: NODE, 11: ATTRIBUTE},
)
"""Field number -> kind of message, for the messages that can hold tensors."""

_GRAPH_FIELD, _TRAINING_FIELD, _FUNCTION_FIELD = 7, 20, 25

_PAYLOADS = frozenset({FLOAT_DATA, INT32_DATA, INT64_DATA, RAW_DATA, DOUBLE_DATA, UINT64_DATA})

CUT_FROM = 2048
"""Payloads of at least this many bytes stay in the file; smaller ones cost less to keep than to read again."""

PIECE = 1 << 20
_WINDOW = 64 << 10
_LARGEST_MESSAGE = 256 << 20
_DEEPEST = 100  # messages in messages, protobuf's own limit
_SURVEYED_FROM = 4 << 20
_MOST_FIELDS = 4_000_000


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


@dataclass(slots=True)
class Marker:
    """Stands for payloads that were cut out: 16 bytes drawn for this load, so that no file can hold one, then what was cut."""

    token: bytes = field(default_factory=lambda: os.urandom(16))

    def make(self, number: int, start: int, length: int) -> bytes:
        return self.token + struct.pack("<BQQ", number, start, length)

    def parse(self, raw: bytes) -> tuple[int, int, int] | None:
        """(field, start, length) of the payload that `raw` stands for, or None where it is data."""
        if len(raw) != 33 or not raw.startswith(self.token):
            return None
        number, start, length = struct.unpack_from("<BQQ", raw, 16)
        return number, start, length


class _Window:
    """The bytes around a position, refilled as the walk goes on."""

    __slots__ = ("base", "content", "file")

    def __init__(self, file: DataFile) -> None:
        self.file = file
        self.base = 0
        self.content = b""

    def at(self, position: int) -> tuple[bytes, int]:
        """Content that holds at least 24 bytes from `position` (or all there are), and the offset of its first byte."""
        self.content = self.file.read(position, min(_WINDOW, self.file.size - position))
        self.base = position
        return self.content, position

    def slice(self, start: int, stop: int) -> bytes:
        begin = start - self.base
        if begin >= 0 and stop - self.base <= len(self.content):
            return self.content[begin : stop - self.base]
        return self.file.read(start, stop - start)


Entry = tuple[int, int, int, int, int]
"""(field number, wire type, start of the field with its tag, start of its payload, end)."""


def _entries(window: _Window, position: int, end: int) -> Iterator[Entry]:
    """The fields of the message between `position` and `end`. Every step moves on by a byte at least."""
    content, base = window.content, window.base
    while position < end:
        index = position - base
        if index < 0 or index + 24 > len(content):
            content, base = window.content, window.base
            index = position - base
            if index < 0 or (index + 24 > len(content) and base + len(content) < window.file.size):
                content, base = window.at(position)
                index = 0
        try:
            tag = content[index]
            index += 1
            if tag > 127:
                tag, index = _varint(content, index - 1)
            wire = tag & 7
            if wire == 2:
                length = content[index]
                index += 1
                if length > 127:
                    length, index = _varint(content, index - 1)
                payload = base + index
                stop = payload + length
            else:
                payload = base + index
                if wire == 0:
                    stop = base + _varint(content, index)[1]
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


def _varint(content: bytes, index: int) -> tuple[int, int]:
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


def _encode(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def pieces(file: DataFile, marker: Marker) -> Iterator[tuple[int, bytes]]:
    """The file as (kind, bytes): GRAPH pieces in order, one FUNCTION each, and last the rest of the model as MODEL.

    Training information (ModelProto.training_info) is skipped. Raises `WireError` where the bytes are not a model's.
    """
    window = _Window(file)
    header: list[bytes] = []
    kept = 0
    for number, wire, begin, payload, stop in _entries(window, 0, file.size):
        if wire == 2 and number == _GRAPH_FIELD:
            yield from _graph_pieces(window, payload, stop, marker)
        elif wire == 2 and number == _FUNCTION_FIELD:
            rest = _stripped(window, payload, stop, FUNCTION, marker, 1)
            _check_fields(rest, FUNCTION)
            yield FUNCTION, rest
        elif wire == 2 and number == _TRAINING_FIELD:
            continue
        else:
            kept += stop - begin
            _check_size(kept)
            header.append(window.slice(begin, stop))
    yield MODEL, b"".join(header)


def _graph_pieces(window: _Window, start: int, end: int, marker: Marker) -> Iterator[tuple[int, bytes]]:
    parts: list[bytes] = []
    kept = 0
    run = start  # what lies from here to the current field is kept as it is
    inside = _INSIDE[GRAPH]
    for number, wire, begin, payload, stop in _entries(window, start, end):
        if stop - payload >= CUT_FROM and wire == 2 and number in inside:
            parts.append(window.slice(run, begin))
            rest = _stripped(window, payload, stop, inside[number], marker, 2)
            _check_fields(rest, inside[number])
            parts.append(_encode(number << 3 | 2) + _encode(len(rest)))
            parts.append(rest)
            kept += begin - run + len(rest)
            run = stop
        elif stop - run >= _WINDOW // 2:
            _check_size(stop - run)
            parts.append(window.slice(run, stop))
            kept += stop - run
            run = stop
        if kept >= PIECE:
            yield GRAPH, b"".join(parts)
            parts, kept = [], 0
    parts.append(window.slice(run, end))
    yield GRAPH, b"".join(parts)


def _stripped(window: _Window, start: int, end: int, kind: int, marker: Marker, depth: int) -> bytes:
    """The message between `start` and `end` without the large payloads in it."""
    if depth > _DEEPEST:
        raise TooDeepError("messages are nested too deeply")
    if kind == TENSOR:
        return _stripped_tensor(window, start, end, marker)
    parts: list[bytes] = []
    kept = 0
    run = start
    inside = _INSIDE[kind]
    for number, wire, begin, payload, stop in _entries(window, start, end):
        if kind == ATTRIBUTE and 7 <= number <= 9:
            _check_size(kept + end - run)
            break  # numbers or strings, perhaps millions: no tensor follows them
        if stop - payload >= CUT_FROM and wire == 2 and number in inside:
            parts.append(window.slice(run, begin))
            rest = _stripped(window, payload, stop, inside[number], marker, depth + 1)
            parts.append(_encode(number << 3 | 2) + _encode(len(rest)))
            parts.append(rest)
            kept += begin - run + len(rest)
            run = stop
        _check_size(kept + stop - run)
    parts.append(window.slice(run, end))
    return b"".join(parts)


def _stripped_tensor(window: _Window, start: int, end: int, marker: Marker) -> bytes:
    """A TensorProto whose one large payload became a marker in raw_data; one that spreads over several fields stays whole."""
    parts: list[bytes] = []
    run = start
    payloads = cuts = 0
    for number, wire, begin, payload, stop in _entries(window, start, end):
        if number not in _PAYLOADS and number != STRING_DATA:
            continue
        payloads += 1
        if wire != 2 or number == STRING_DATA:
            break  # unpacked or text: the protobuf classes take it
        if stop - payload >= CUT_FROM:
            cuts += 1
            parts.append(window.slice(run, begin))
            mark = marker.make(number, payload, stop - payload)
            parts.append(_encode(RAW_DATA << 3 | 2) + _encode(len(mark)) + mark)
            run = stop
    if cuts != 1 or payloads != 1:
        _check_size(end - start)
        return window.slice(start, end)
    _check_size(end - run)
    parts.append(window.slice(run, end))
    return b"".join(parts)


def _check_size(kept: int) -> None:
    if kept > _LARGEST_MESSAGE:
        raise TooLargeError(f"a part of it takes more than {_LARGEST_MESSAGE >> 20} MiB without its weights")


def _check_fields(rest: bytes, kind: int) -> None:
    if len(rest) > _SURVEYED_FROM and survey(rest, kind)[1] > _MOST_FIELDS:
        raise TooLargeError(f"a part of it has more than {_MOST_FIELDS:,} fields")


def survey(content: bytes, kind: int) -> tuple[int, int]:
    """(how deep messages are nested in `content`, how many fields with a length it has), as far as it can be walked.

    Stops a little past the limits of either: an empty message takes two bytes in a file and hundreds in memory.
    """
    deepest = fields = 0
    stack = [(kind, content, 1)]
    while stack:
        kind, content, depth = stack.pop()
        deepest = max(deepest, depth)
        if depth > _DEEPEST:
            break
        position = 0
        try:
            while position < len(content) and fields <= _MOST_FIELDS:
                if kind == ATTRIBUTE:
                    position = _numbers_end(content, position)
                    if position == len(content):
                        break
                tag, position = _varint(content, position)
                if tag & 7 == 2:
                    fields += 1
                    length, position = _varint(content, position)
                    inner = _INSIDE[kind].get(tag >> 3)
                    if inner is not None:
                        stack.append((inner, content[position : position + length], depth + 1))
                    position += length
                else:
                    position = _varint(content, position)[1] if tag & 7 == 0 else position + (4 if tag & 7 == 5 else 8)
        except (IndexError, WireError):
            continue
    return deepest, fields


_NUMBERS = re.compile(rb"(?:\x3d.{4}|\x40[\x80-\xff]{0,9}[\x00-\x7f])*+", re.DOTALL)
"""Elements of `floats` and `ints`, which ONNX does not pack: a tree ensemble holds millions in one attribute."""


def _numbers_end(content: bytes, position: int) -> int:
    found = _NUMBERS.match(content, position)
    return found.end() if found is not None else position
