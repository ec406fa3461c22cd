"""Reading .safetensors files: a JSON header and the values behind it, which stay in their file until they are asked for.

The format (github.com/huggingface/safetensors): eight bytes with the header's length, a JSON object of name → dtype, shape and byte range,
then the values, little-endian, one tensor after the other without gaps. Everything that the header says is checked against the file
before anything is made of it. Imports stdlib and the rest of load.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.ir.graph import TensorData
from trainaudit.load.datafile import DataFile, open_model
from trainaudit.load.datatypes import DATA_TYPES, DataType
from trainaudit.load.identify import what_it_is
from trainaudit.load.stored import FileBytes, StoredTensor

_MOST_HEADER = 100_000_000
"""Bytes of a header; the reference implementation's limit."""
_MOST_AXES = 64
_MOST_INDEX = 64 << 20
_MOST_SHARDS = 10_000
_COPY = "Copy, download or save it again."
_SHARD = re.compile(r"[^/\\\0]+\.safetensors")

_ONNX_NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32", "I16": "int16",
    "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0", "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz", "F4": "float4_e2m1", "F6_E2M3": "float6_e2m3", "F6_E3M2": "float6_e3m2",
}  # fmt: skip
_KINDS = {kind.name: kind for kind in DATA_TYPES.values()}
_TYPES: dict[str, DataType] = {word: _KINDS[name] for word, name in _ONNX_NAMES.items()}


@frozen
class WeightFile:
    """Named tensors of one file or of all shards of a model, in the order of the file; `size` in bytes; `texts` is what its metadata says."""

    tensors: Mapping[str, TensorData]
    size: int
    texts: tuple[str, ...] = ()


def read_safetensors(path: str) -> WeightFile:
    """The tensors of the file at `path`. Raises `TrainauditError` with one sentence for everything that is no such file."""
    file = open_model(path)
    length = int.from_bytes(file.read(0, 8), "little") if file.size >= 8 else -1
    if not 2 <= length <= _MOST_HEADER or file.read(8, 1) != b"{":
        raise what_it_is(file.read(0, min(file.size, 8192)), path, "a safetensors file") or _damaged(
            path, "it does not start like a safetensors file"
        )
    if 8 + length > file.size:
        raise _damaged(path, f"its header needs {length} bytes, and {file.size - 8} are there")
    try:
        header = json.loads(file.read(8, length).decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its header is not JSON ({_short(error)})") from None
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    start = 8 + length
    ranges = sorted(_range(path, name, entry) for name, entry in header.items())
    _check_ranges(path, [(begin, end) for begin, end, _ in ranges], file.size - start)
    tensors = {name: _tensor(path, file, start, name, header[name]) for _, _, name in ranges}
    texts = tuple(str(value) for value in metadata.values()) if isinstance(metadata, dict) else ()
    return WeightFile(tensors, file.size, texts)


def read_sharded(index: str) -> WeightFile:
    """The tensors of all shards that an index (model.safetensors.index.json) names; shards lie beside it, nowhere else."""
    names = shards_of(index)
    tensors: dict[str, TensorData] = {}
    size = 0
    texts: tuple[str, ...] = ()
    for name in names:
        shard = read_safetensors(str(Path(index).with_name(name)))
        twice = tensors.keys() & shard.tensors.keys()
        if twice:
            raise _damaged(index, f"two of its shards hold {min(twice)}")
        tensors.update(shard.tensors)
        size += shard.size
        texts += shard.texts
    return WeightFile(tensors, size, texts)


def shards_of(index: str) -> tuple[str, ...]:
    """The file names of an index's shards, in order. They may not leave the index's folder."""
    file = open_model(index)
    if file.size > _MOST_INDEX:
        raise _damaged(index, f"an index of {file.size} bytes is too large")
    try:
        document = json.loads(file.read(0, file.size).decode("utf-8"), object_pairs_hook=_unique)
        weights = document["weight_map"]
        names = tuple(dict.fromkeys(weights.values()))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise _damaged(index, "it is not an index of weights (a JSON object with weight_map)") from None
    if not names or len(names) > _MOST_SHARDS:
        raise _damaged(index, f"it names {len(names)} files")
    for name in names:
        if not isinstance(name, str) or not _SHARD.fullmatch(name):
            raise TrainauditError(
                "outside-folder",
                f"{index} names a shard that is no .safetensors file in its own folder ({str(name)[:80]}).",
                "Shards lie beside their index.",
            )
    return names


def _range(path: str, name: str, entry: Any) -> tuple[int, int, str]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(item) for item in offsets):
        raise _damaged(path, f"its header does not say where the tensor {name[:80]} lies")
    return offsets[0], offsets[1], name


def _check_ranges(path: str, ranges: list[tuple[int, int]], size: int) -> None:
    """The ranges cover the bytes behind the header, once: so says the format, and so nothing can be hidden between them."""
    at = 0
    for begin, end in ranges:
        if begin != at or end < begin:
            raise _damaged(path, f"its tensors overlap or leave gaps at byte {at}")
        at = end
    if at != size:
        raise _damaged(path, f"its tensors take {at} bytes, and {size} are there")


def _tensor(path: str, file: DataFile, start: int, name: str, entry: Mapping[str, Any]) -> StoredTensor:
    word, shape = entry.get("dtype"), entry.get("shape")
    kind = _TYPES.get(word) if isinstance(word, str) else None
    if kind is None:
        what = f"{path} stores {name[:80]} as {str(word)[:20]}, which is not known here."
        raise TrainauditError("unknown-type", what, "Store it in a usual type, such as F32.")
    if not isinstance(shape, list) or len(shape) > _MOST_AXES or not all(_is_count(item) for item in shape):
        raise _damaged(path, f"the tensor {name[:80]} has no valid shape")
    begin, end = entry["data_offsets"]
    size = math.prod(shape)
    if kind.byte_count(size) != end - begin:
        raise _damaged(path, f"the tensor {name[:80]} needs {kind.byte_count(size)} bytes and has {end - begin}")
    return StoredTensor(tuple(shape), kind, FileBytes(file, start + begin), size)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands in it twice")
    return table


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _short(error: Exception) -> str:
    return str(error)[:80] or "nested too deeply"


def _damaged(path: str, why: str) -> TrainauditError:
    return TrainauditError("damaged-file", f"{path} is not a whole safetensors file: {why}.", _COPY)
