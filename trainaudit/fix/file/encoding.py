"""Tensors as ONNX stores them: numbers to bytes and back, and a TensorProto with other values. Stdlib, numpy and load only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from trainaudit.fix.file.fields import entry, field, head
from trainaudit.ir.tensor import widen_bfloat16
from trainaudit.load.cutting import encoded_varint
from trainaudit.load.datatypes import DATA_TYPES, DOUBLE_DATA, FLOAT_DATA, RAW_DATA, Array
from trainaudit.load.wire import Entry

DIMS, DATA_TYPE, NAME, EXTERNAL_DATA, DATA_LOCATION = 1, 2, 8, 13, 14
_PAYLOADS = frozenset({4, 5, 6, 7, 9, 10, 11})
_STORED: dict[str, Any] = {"float32": np.dtype("<f4"), "float64": np.dtype("<f8"), "float16": np.dtype("<f2")}

WRITABLE = frozenset({*_STORED, "bfloat16"})
"""Element types whose values can be made anew."""

CODES = {kind.name: code for code, kind in DATA_TYPES.items()}


def encoded(values: Array, dtype: str) -> Array:
    """Values as they are stored, little-endian; bfloat16 as uint16 bits, rounded to the nearest, ties to even."""
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            stored: Array = np.ascontiguousarray(values.astype(_STORED[dtype]))
        return stored
    bits = np.ascontiguousarray(values.astype(np.float32)).view(np.uint32)
    rounded = (bits + (((bits >> 16) & 1) + 0x7FFF).astype(np.uint32)) >> 16
    return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype("<u2")


def decoded(stored: Array, dtype: str) -> Array:
    """The numbers that stored values stand for."""
    return widen_bfloat16(stored) if dtype == "bfloat16" else stored


def tensor_message(name: str, dtype: str, shape: tuple[int, ...], stored: Array) -> bytes:
    """A TensorProto of stored values in raw_data."""
    parts = [encoded_varint(DIMS << 3) + encoded_varint(size) for size in shape]
    parts += [
        encoded_varint(DATA_TYPE << 3) + encoded_varint(CODES[dtype]),
        field(NAME, name),
        field(RAW_DATA, stored.tobytes()),
    ]
    return b"".join(parts)


def with_values(message: Iterator[tuple[Entry, bytes]], stored: Array, dtype: str) -> bytes:
    """A TensorProto with other values, all else as it was: at the place of its first payload, and in the same field where that holds plain floats."""
    parts: list[bytes] = []
    is_written = False
    for (number, wire, *_), content in message:
        if number not in _PAYLOADS:
            parts.append(content)
            continue
        if is_written:
            continue
        keeps_field = wire == 2 and (number, dtype) in ((FLOAT_DATA, "float32"), (DOUBLE_DATA, "float64"))
        parts.append(_payload(number if keeps_field else RAW_DATA, stored))
        is_written = True
    if not is_written:
        parts.append(_payload(RAW_DATA, stored))
    return b"".join(parts)


def _payload(number: int, stored: Array) -> bytes:
    return head(number, stored.nbytes) + stored.tobytes()


def moved_message(message: Iterator[tuple[Entry, bytes]], location: str, offset: int, length: int) -> bytes:
    """A TensorProto whose values lie in external data, with another place of theirs; a checksum of the old ones is left out."""
    parts: list[bytes] = []
    is_written = False
    place = b"".join(
        entry(EXTERNAL_DATA, key, str(value))
        for key, value in (("location", location), ("offset", offset), ("length", length))
    )
    for (number, *_), content in message:
        if number != EXTERNAL_DATA:
            parts.append(content)
        elif not is_written:
            parts.append(place)
            is_written = True
    return b"".join(parts)


def renamed(message: Iterator[tuple[Entry, bytes]], name: str) -> bytes:
    """A TensorProto of another name."""
    return b"".join([content for (number, *_), content in message if number != NAME]) + field(NAME, name)
