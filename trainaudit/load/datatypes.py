"""How ONNX stores numbers: TensorProto.DataType and what its bytes mean. Stdlib and numpy only."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from trainaudit.frozen import frozen

Array = npt.NDArray[np.generic]


@frozen
class DataType:
    """`bits` per element; `stored` is numpy's type of what lies in the file (the packed byte where `bits` < 8); `field` is the
    number of the TensorProto field that holds the values when they are not raw bytes; `small_float` gives the layout
    (exponent bits, mantissa bits, bias, specials) of the floats that numpy lacks."""

    name: str
    bits: int
    stored: npt.DTypeLike
    field: int
    small_float: tuple[int, int, int, str] | None = None

    def byte_count(self, elements: int) -> int:
        """Bytes that `elements` packed values take."""
        return (elements * self.bits + 7) // 8

    @property
    def group(self) -> int:
        """Elements that share bytes: a read must start at a multiple of it."""
        return {2: 4, 4: 2, 6: 4}.get(self.bits, 1)


FLOAT_DATA, INT32_DATA, STRING_DATA, INT64_DATA, RAW_DATA, DOUBLE_DATA, UINT64_DATA = 4, 5, 6, 7, 9, 10, 11

STRING = 8

DATA_TYPES: dict[int, DataType] = {
    1: DataType("float32", 32, "<f4", FLOAT_DATA),
    2: DataType("uint8", 8, "u1", INT32_DATA),
    3: DataType("int8", 8, "i1", INT32_DATA),
    4: DataType("uint16", 16, "<u2", INT32_DATA),
    5: DataType("int16", 16, "<i2", INT32_DATA),
    6: DataType("int32", 32, "<i4", INT32_DATA),
    7: DataType("int64", 64, "<i8", INT64_DATA),
    STRING: DataType("string", 8, "u1", STRING_DATA),
    9: DataType("bool", 8, "u1", INT32_DATA),
    10: DataType("float16", 16, "<f2", INT32_DATA),
    11: DataType("float64", 64, "<f8", DOUBLE_DATA),
    12: DataType("uint32", 32, "<u4", UINT64_DATA),
    13: DataType("uint64", 64, "<u8", UINT64_DATA),
    14: DataType("complex64", 64, "<c8", FLOAT_DATA),
    15: DataType("complex128", 128, "<c16", DOUBLE_DATA),
    16: DataType("bfloat16", 16, "<u2", INT32_DATA),
    17: DataType("float8_e4m3fn", 8, "u1", INT32_DATA, (4, 3, 7, "fn")),
    18: DataType("float8_e4m3fnuz", 8, "u1", INT32_DATA, (4, 3, 8, "fnuz")),
    19: DataType("float8_e5m2", 8, "u1", INT32_DATA, (5, 2, 15, "ieee")),
    20: DataType("float8_e5m2fnuz", 8, "u1", INT32_DATA, (5, 2, 16, "fnuz")),
    21: DataType("uint4", 4, "u1", INT32_DATA),
    22: DataType("int4", 4, "u1", INT32_DATA),
    23: DataType("float4_e2m1", 4, "u1", INT32_DATA, (2, 1, 1, "finite")),
    24: DataType("float8_e8m0", 8, "u1", INT32_DATA, (8, 0, 127, "scale")),
    25: DataType("uint2", 2, "u1", INT32_DATA),
    26: DataType("int2", 2, "u1", INT32_DATA),
    27: DataType("float6_e2m3", 6, "u1", INT32_DATA, (2, 3, 1, "finite")),
    28: DataType("float6_e3m2", 6, "u1", INT32_DATA, (3, 2, 3, "finite")),
}

TYPE_NAMES: dict[int, str] = {number: kind.name for number, kind in DATA_TYPES.items()}


def decoder(kind: DataType) -> Callable[[Array], Array] | None:
    """What turns stored words (see `DataType.stored`) into values, or None where they are the values already.

    bool gives numpy's bool; int4, int2 give int8 and uint4, uint2 uint8 (unpacked, the first element in the low bits); the
    8-, 6- and 4-bit floats give float32. bfloat16 stays as uint16 bits (see `TensorData.blocks`). The result of a packed type
    has a multiple of `kind.group` elements.
    """
    if kind.name == "bool":
        return lambda words: words != 0
    if kind.small_float is not None:
        table = small_float_table(kind)
        if kind.bits == 8:
            return lambda words: table[words]
        return lambda words: table[_unpack(words, kind.bits)]
    if kind.bits < 8:
        if kind.name.startswith("uint"):
            return lambda words: _unpack(words, kind.bits)
        shift = 8 - kind.bits
        return lambda words: (_unpack(words, kind.bits) << shift).view(np.int8) >> shift
    return None


def _unpack(words: Array, bits: int) -> Any:
    """Values of 2, 4 or 6 bits as bytes; the first value lies in the lowest bits (of three bytes where `bits` is 6)."""
    octets = words.view(np.uint8)
    if bits == 6:
        padded = np.zeros(-(-octets.size // 3) * 3, np.uint8)
        padded[: octets.size] = octets
        first, second, third = padded[0::3], padded[1::3], padded[2::3]
        columns = (first, (first >> 6) | (second << 2), (second >> 4) | (third << 4), third >> 2)
        return (np.stack(columns, axis=1) & 0x3F).reshape(-1)
    per_byte = 8 // bits
    values = np.empty((octets.size, per_byte), np.uint8)
    for index in range(per_byte):
        values[:, index] = (octets >> (bits * index)) & ((1 << bits) - 1)
    return values.reshape(-1)


@lru_cache(maxsize=16)
def small_float_table(kind: DataType) -> npt.NDArray[np.float32]:
    """The float32 value of every bit pattern of an 8-, 6- or 4-bit float.

    Sources: Micikevicius et al. 2022 (arXiv:2209.05433) for E4M3FN and E5M2, Noune et al. 2022 (arXiv:2206.02915) for the FNUZ
    variants (no infinity, no negative zero, one NaN), the OCP Microscaling specification 1.0 for E2M1, E2M3, E3M2 and E8M0.
    """
    assert kind.small_float is not None
    exponent_bits, mantissa_bits, bias, specials = kind.small_float
    codes = np.arange(1 << kind.bits, dtype=np.int64)
    if specials == "scale":
        table = np.ldexp(1.0, codes - bias)
        table[-1] = np.nan
        return table.astype(np.float32)
    mantissa = codes & ((1 << mantissa_bits) - 1)
    exponent = (codes >> mantissa_bits) & ((1 << exponent_bits) - 1)
    sign = np.where((codes >> (exponent_bits + mantissa_bits)) & 1, -1.0, 1.0)
    fraction = mantissa / (1 << mantissa_bits)
    normal = np.ldexp(1.0 + fraction, exponent - bias)
    subnormal = np.ldexp(fraction, np.full_like(exponent, 1 - bias))
    values = sign * np.where(exponent == 0, subnormal, normal)
    top = (1 << exponent_bits) - 1
    if specials == "ieee":
        values[(exponent == top) & (mantissa == 0)] *= np.inf
        values[(exponent == top) & (mantissa != 0)] = np.nan
    elif specials == "fn":
        values[(exponent == top) & (mantissa == (1 << mantissa_bits) - 1)] = np.nan
    elif specials == "fnuz":
        values[1 << (exponent_bits + mantissa_bits)] = np.nan
    return values.astype(np.float32)
