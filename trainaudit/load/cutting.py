"""Cutting the weights out of an ONNX file before it is parsed. Stdlib and the rest of load.

Every large payload of a tensor is replaced by a marker, and the file is handed on in pieces of about a megabyte. Concatenated
fields of a message are that message, so each piece is parsed alone: neither the weights nor the whole parsed file are ever in
memory.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import field

from trainaudit.frozen import slotted
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
from trainaudit.load.wire import (
    ATTRIBUTE,
    DEEPEST,
    FUNCTION,
    GRAPH,
    INSIDE,
    MODEL,
    MOST_FIELDS,
    TENSOR,
    WINDOW,
    TooDeepError,
    TooLargeError,
    Window,
    entries,
    survey,
)

_GRAPH_FIELD, _TRAINING_FIELD, _FUNCTION_FIELD = 7, 20, 25

_PAYLOADS = frozenset({FLOAT_DATA, INT32_DATA, INT64_DATA, RAW_DATA, DOUBLE_DATA, UINT64_DATA})

CUT_FROM = 2048
"""Payloads of at least this many bytes stay in the file; smaller ones cost less to keep than to read again."""

PIECE = 1 << 20
_LARGEST_MESSAGE = 256 << 20
_SURVEYED_FROM = 4 << 20


@slotted
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


def pieces(file: DataFile, marker: Marker) -> Iterator[tuple[int, bytes]]:
    """The file as (kind, bytes): GRAPH pieces in order, one FUNCTION each, and last the rest of the model as MODEL.

    Training information (ModelProto.training_info) is skipped. Raises `WireError` where the bytes are not a model's.
    """
    window = Window(file)
    header: list[bytes] = []
    kept = 0
    for number, wire, begin, payload, stop in entries(window, 0, file.size):
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
    rest = b"".join(header)
    _check_fields(rest, MODEL)
    yield MODEL, rest


def _graph_pieces(window: Window, start: int, end: int, marker: Marker) -> Iterator[tuple[int, bytes]]:
    parts: list[bytes] = []
    kept = 0
    run = start  # what lies from here to the current field is kept as it is
    inside = INSIDE[GRAPH]
    for number, wire, begin, payload, stop in entries(window, start, end):
        if stop - payload >= CUT_FROM and wire == 2 and number in inside:
            parts.append(window.slice(run, begin))
            rest = _stripped(window, payload, stop, inside[number], marker, 2)
            _check_fields(rest, inside[number])
            parts.append(encoded_varint(number << 3 | 2) + encoded_varint(len(rest)))
            parts.append(rest)
            kept += begin - run + len(rest)
            run = stop
        elif stop - run >= WINDOW // 2:
            _check_size(stop - run)
            parts.append(window.slice(run, stop))
            kept += stop - run
            run = stop
        if kept >= PIECE:
            yield GRAPH, b"".join(parts)
            parts, kept = [], 0
    parts.append(window.slice(run, end))
    yield GRAPH, b"".join(parts)


def _stripped(window: Window, start: int, end: int, kind: int, marker: Marker, depth: int) -> bytes:
    """The message between `start` and `end` without the large payloads in it."""
    if depth > DEEPEST:
        raise TooDeepError("messages are nested too deeply")
    if kind == TENSOR:
        return _stripped_tensor(window, start, end, marker)
    parts: list[bytes] = []
    kept = 0
    run = start
    inside = INSIDE[kind]
    for number, wire, begin, payload, stop in entries(window, start, end):
        if kind == ATTRIBUTE and 7 <= number <= 9:
            _check_size(kept + end - run)
            break  # numbers or strings, perhaps millions: no tensor follows them
        if stop - payload >= CUT_FROM and wire == 2 and number in inside:
            parts.append(window.slice(run, begin))
            rest = _stripped(window, payload, stop, inside[number], marker, depth + 1)
            parts.append(encoded_varint(number << 3 | 2) + encoded_varint(len(rest)))
            parts.append(rest)
            kept += begin - run + len(rest)
            run = stop
        _check_size(kept + stop - run)
    parts.append(window.slice(run, end))
    return b"".join(parts)


def _stripped_tensor(window: Window, start: int, end: int, marker: Marker) -> bytes:
    """A TensorProto whose one large payload became a marker in raw_data; one that spreads over several fields stays whole."""
    parts: list[bytes] = []
    run = start
    payloads = cuts = 0
    for number, wire, begin, payload, stop in entries(window, start, end):
        if number not in _PAYLOADS and number != STRING_DATA:
            continue
        payloads += 1
        if wire != 2 or number == STRING_DATA:
            break  # unpacked or text: the protobuf classes take it
        if stop - payload >= CUT_FROM:
            cuts += 1
            parts.append(window.slice(run, begin))
            mark = marker.make(number, payload, stop - payload)
            parts.append(encoded_varint(RAW_DATA << 3 | 2) + encoded_varint(len(mark)) + mark)
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


def encoded_varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def _check_fields(rest: bytes, kind: int) -> None:
    if len(rest) > _SURVEYED_FROM and survey(rest, kind)[1] > MOST_FIELDS:
        raise TooLargeError(f"a part of it has more than {MOST_FIELDS:,} fields")
