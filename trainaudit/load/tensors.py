"""TensorProto and SparseTensorProto as `TensorData`: what is declared is held against the bytes that are there, before anything
is allocated. Imports numpy and the rest of load."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Any

import numpy as np

from trainaudit.errors import TrainauditError
from trainaudit.frozen import slotted
from trainaudit.load.cutting import Marker
from trainaudit.load.datafile import DataFile
from trainaudit.load.datatypes import (
    DATA_TYPES,
    DOUBLE_DATA,
    FLOAT_DATA,
    INT32_DATA,
    INT64_DATA,
    RAW_DATA,
    STRING,
    UINT64_DATA,
    DataType,
)
from trainaudit.load.encoded import SparseTensor, VarintTensor, narrow
from trainaudit.load.external import ExternalFiles
from trainaudit.load.stored import FileBytes, MemoryBytes, StoredTensor, StringTensor

_EXTERNAL = 1
_HIGHEST_RANK = 32
_MOST_DENSE = 1 << 28
"""Elements that all sparse tensors of a file together may claim: their zeros are nowhere in the file."""

_FIELDS = {
    FLOAT_DATA: "float_data", INT32_DATA: "int32_data", INT64_DATA: "int64_data", DOUBLE_DATA: "double_data",
    UINT64_DATA: "uint64_data",
}  # fmt: skip

Tensor = StoredTensor | VarintTensor | StringTensor | SparseTensor


def shown(name: str | bytes) -> str:
    """A name from the file, fit to be printed: quoted, control characters escaped, shortened."""
    if isinstance(name, bytes):  # not UTF-8
        name = name.decode(errors="replace")
    text = name if name.isprintable() else name.encode("unicode_escape", "backslashreplace").decode("ascii")
    return f"'{text if len(text) <= 80 else text[:77] + '…'}'"


@slotted
class TensorReader:
    """Turns the tensors of one file into lazy data."""

    file: DataFile
    marker: Marker
    external: ExternalFiles
    dense_left: int = field(default=_MOST_DENSE)

    def tensor(self, proto: Any, name: str = "") -> Tensor:
        """The data of a TensorProto. Raises `TrainauditError` where it cannot be what it declares."""
        shape = tuple(proto.dims)
        kind = DATA_TYPES.get(proto.data_type)
        if kind is None:
            raise _invalid(name or proto.name, f"has the data type {proto.data_type}, which ONNX does not define")
        size = element_count(shape, name or proto.name)
        if proto.HasField("segment"):
            raise _invalid(name or proto.name, "is stored in segments, which ONNX never defined")
        if proto.data_location == _EXTERNAL:
            return self._external(proto, name or proto.name, shape, kind, size)
        if proto.data_type == STRING:
            content = tuple(proto.string_data)
            if len(content) != size:
                raise _invalid(name or proto.name, f"declares {size:,} strings and holds {len(content):,}")
            return StringTensor(shape, content)
        if proto.HasField("raw_data"):
            raw = proto.raw_data
            cut = self.marker.parse(raw)
            if cut is not None:
                return self._cut(cut, name or proto.name, shape, kind, size)
            check_bytes(name or proto.name, shape, kind, size, len(raw))
            return StoredTensor(shape, kind, MemoryBytes(raw), size)
        return self._typed(proto, name or proto.name, shape, kind, size)

    def _cut(
        self, cut: tuple[int, int, int], name: str, shape: tuple[int, ...], kind: DataType, size: int
    ) -> StoredTensor | VarintTensor:
        number, start, length = cut
        if number == RAW_DATA:
            check_bytes(name, shape, kind, size, length)
            return StoredTensor(shape, kind, FileBytes(self.file, start), size)
        if number != kind.field:
            raise _invalid(name, f"declares {kind.name} but holds {_FIELDS[number]}")
        if number in (FLOAT_DATA, DOUBLE_DATA):
            check_bytes(name, shape, kind, size, length)
            return StoredTensor(shape, kind, FileBytes(self.file, start), size)
        words = _word_count(kind, size)
        if not words <= length <= 10 * words:
            raise _mismatch(name, shape, kind, f"{words:,} numbers", f"{length:,} bytes of them")
        return VarintTensor(shape, _unpacked(kind), self.file, start, length, size)

    def _typed(self, proto: Any, name: str, shape: tuple[int, ...], kind: DataType, size: int) -> StoredTensor:
        """Values in float_data and its like, which are few here: kept as raw bytes."""
        values = getattr(proto, _FIELDS[kind.field])
        parts = 2 if kind.name.startswith("complex") else 1
        words = _word_count(kind, size) * parts
        if len(values) != words:
            raise _mismatch(name, shape, kind, f"{words:,} numbers", f"{len(values):,}")
        if kind.field == FLOAT_DATA:
            content = np.fromiter(values, "<f4", words).tobytes()
        elif kind.field == DOUBLE_DATA:
            content = np.fromiter(values, "<f8", words).tobytes()
        elif kind.field == UINT64_DATA:
            content = narrow(np.fromiter(values, "<u8", words), kind).tobytes()
        else:
            content = narrow(np.fromiter(values, "<i8", words), kind).tobytes()
        return StoredTensor(shape, _unpacked(kind), MemoryBytes(content), size)

    def _external(self, proto: Any, name: str, shape: tuple[int, ...], kind: DataType, size: int) -> StoredTensor:
        label = shown(name)
        if proto.data_type == STRING:
            raise _invalid(name, "holds strings in external data, which ONNX does not allow")
        entries = {entry.key: entry.value for entry in proto.external_data}
        if not all(isinstance(text, str) for text in (*entries, *entries.values())):
            raise _invalid(name, "has external data whose place is not UTF-8 text")
        file = self.external.open(entries.get("location", ""), label)
        needed = kind.byte_count(size)
        offset = _entry_number(entries, "offset", name) or 0
        length = _entry_number(entries, "length", name)
        if length is not None and length < needed:
            raise _mismatch(name, shape, kind, f"{needed:,} bytes", f"{length:,} bytes of external data")
        if offset + max(needed, length or 0) > file.size:
            raise TrainauditError(
                "truncated-external-data",
                f"The weights of {label} end at byte {offset + max(needed, length or 0):,} of {file.name}, which has only {file.size:,} bytes.",
                "Copy or download the data file again; in a git checkout, run `git lfs pull`.",
            )
        return StoredTensor(shape, kind, FileBytes(file, offset), size)

    def sparse(self, proto: Any, name: str = "") -> Tensor:
        """The data of a SparseTensorProto (linear or coordinate indices), read as if it were dense."""
        name = name or proto.values.name
        shape = tuple(proto.dims)
        size = element_count(shape, name)
        values = self.tensor(proto.values, name)
        indices = self.tensor(proto.indices, name)
        if not isinstance(values, StoredTensor | VarintTensor) or not isinstance(indices, StoredTensor | VarintTensor):
            raise _invalid(name, "is sparse and holds strings")
        count = values.size
        if len(values.shape) != 1 or indices.dtype != "int64" or indices.shape not in ((count,), (count, len(shape))):
            raise _invalid(name, "is sparse and its indices do not fit its values")
        self.dense_left -= size
        if self.dense_left < 0:
            raise TrainauditError(
                "too-large",
                f"The sparse tensor {shown(name)} and those before it claim more than {_MOST_DENSE:,} elements.",
            )
        coordinates = indices.read().astype(np.int64)
        if coordinates.ndim == 2:
            limits = np.array(shape, np.int64)
            if ((coordinates < 0) | (coordinates >= limits)).any():
                raise _invalid(name, "is sparse and has indices outside its shape")
            strides = np.cumprod([1, *shape[:0:-1]])[::-1]
            coordinates = coordinates @ strides
        if count and (coordinates[0] < 0 or coordinates[-1] >= size or (np.diff(coordinates) <= 0).any()):
            raise _invalid(name, "is sparse and has indices that do not increase inside its shape")
        return SparseTensor(shape, values, coordinates, size)


def element_count(shape: tuple[int, ...], name: str) -> int:
    """The product of `shape`. Raises `TrainauditError` for what no array can have."""
    if len(shape) > _HIGHEST_RANK:
        raise _invalid(name, f"declares {len(shape)} axes; at most {_HIGHEST_RANK} are understood")
    size, span = 1, 1
    for dimension in shape:
        if dimension < 0:
            raise _invalid(name, f"declares the negative size {dimension}")
        size *= dimension
        span *= dimension or 1
    if span >= 1 << 59:
        raise _invalid(name, f"declares the shape {_sizes(shape)}, more than any file can hold")
    return size


def check_bytes(name: str, shape: tuple[int, ...], kind: DataType, size: int, found: int) -> None:
    if kind.byte_count(size) != found:
        raise _mismatch(name, shape, kind, f"{kind.byte_count(size):,} bytes", f"{found:,}")


def _word_count(kind: DataType, size: int) -> int:
    """Numbers in a typed field: packed types put a byte in each, except that a 6-bit float has one to itself."""
    return size if kind.bits == 6 or kind.bits >= 8 else kind.byte_count(size)


def _unpacked(kind: DataType) -> DataType:
    return replace(kind, bits=8) if kind.bits == 6 else kind


def _entry_number(entries: dict[str, str], key: str, name: str) -> int | None:
    text = entries.get(key)
    if text is None or text == "":
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise _invalid(name, f"has an external data {key} that is no number")
    return int(text)


def _sizes(shape: tuple[int, ...]) -> str:
    return "×".join(f"{dimension:,}" for dimension in shape) or "scalar"


def _invalid(name: str, what: str) -> TrainauditError:
    return TrainauditError("invalid-tensor", f"The tensor {shown(name)} {what}.", "Export the model again.")


def _mismatch(name: str, shape: tuple[int, ...], kind: DataType, needed: str, found: str) -> TrainauditError:
    return TrainauditError(
        "tensor-size-mismatch",
        f"The tensor {shown(name)} declares {_sizes(shape)} {kind.name} ({needed}) but the file holds {found}.",
        "The file is damaged or was made by a faulty exporter: export the model again.",
    )
