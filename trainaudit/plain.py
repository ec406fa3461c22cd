"""Records as plain data and back: frozen dataclasses ↔ dictionaries, lists, texts, numbers. One codec for the audit, the facts and the trace.

Standard JSON holds no NaN and no infinity: `finite` writes one as `{"non_finite": "nan"}` (or "inf", "-inf"), and `decoded` reads that back.
Reading validates everything, by the types of the fields: what is on disk may come from anywhere. Stdlib only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

_Record = TypeVar("_Record")
_Reader = Callable[[Any, str], Any]
_FLOATS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}
_PAIRS = {"failures": ("target", "reason"), "unrecognized": ("op", "count"), "validation_loss": ("step", "loss")}
"""Fields that hold pairs, written as objects with these names."""


class DamagedError(ValueError):
    """What was read is no such record. The text says what stands where, as the rest of a sentence whose subject is the file."""


def encoded(record: Any) -> dict[str, Any]:
    """A dataclass as a dictionary, depth first. Mappings of plain values (facts, settings) are taken as they are."""
    document: dict[str, Any] = {name: getattr(record, name) for name in record.__dataclass_fields__}
    for name, value in document.items():
        if isinstance(value, tuple) and value:
            if name in _PAIRS:
                document[name] = [dict(zip(_PAIRS[name], pair, strict=True)) for pair in value]
            elif is_dataclass(value[0]):
                document[name] = [encoded(item) for item in value]
        elif is_dataclass(value):
            document[name] = encoded(value)
        elif isinstance(value, Mapping):
            if value and is_dataclass(next(iter(value.values()))):
                document[name] = {key: encoded(item) for key, item in value.items()}
            elif not isinstance(value, dict):
                document[name] = dict(value)
    return document


def finite(value: Any) -> Any:
    """Plain data with every float that is not finite written as an object."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return {"non_finite": "nan" if value != value else "inf" if value > 0 else "-inf"}
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def decoded(kind: type[_Record], value: Any, path: str = "", names: Mapping[str, type] | None = None) -> _Record:
    """A dictionary as a dataclass; unknown fields are passed over. `path` is where it stands, for messages; `names` are classes that its
    annotations name and its module does not import. Raises `DamagedError`."""
    if not isinstance(value, dict):
        raise DamagedError(f"holds {_shown(value)} at {path or 'the top'}, where an object must stand")
    arguments: dict[str, Any] = {}
    for field, read in _readers(kind, names or {}):
        at = f"{path}.{field.name}" if path else field.name
        if field.name in value:
            arguments[field.name] = read(value[field.name], at)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise DamagedError(f"lacks {at}")
    return kind(**arguments)


_known: dict[type, list[tuple[Any, _Reader]]] = {}


def _readers(kind: type, names: Mapping[str, type]) -> list[tuple[Any, _Reader]]:
    if kind not in _known:
        hints = get_type_hints(kind, localns=dict(names))
        _known[kind] = [(field, _reader(hints[field.name], names, field.name)) for field in fields(kind)]
    return _known[kind]


def _reader(hint: Any, names: Mapping[str, type], field: str = "") -> _Reader:
    """The function that reads one type: dataclass, enum, tuple, mapping, union, scalar or anything."""
    origin, arguments = get_origin(hint), get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return lambda value, at: decoded(hint, value, at, names)
    if origin is tuple and field in _PAIRS:
        types = get_args(arguments[0])
        return _tuple_reader(_pair_reader(_PAIRS[field], tuple(_reader(item, names) for item in types)))
    if origin is tuple:
        return _tuple_reader(_reader(arguments[0], names))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_reader(_reader(arguments[1], names))
    if origin in (Union, UnionType):
        inner = next((kind for kind in arguments if is_dataclass(kind)), None)
        if inner is None:
            return _scalar_reader(arguments)
        read = _reader(inner, names)
        return lambda value, at: None if value is None else read(value, at)
    if hint is object:
        return lambda value, _at: _infinite(value)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return lambda value, at: _enum(hint, value, at)
    return _scalar_reader((hint,))


def _tuple_reader(read: _Reader) -> _Reader:
    def reader(value: Any, at: str) -> Any:
        if not isinstance(value, list):
            raise DamagedError(f"holds {_shown(value)} at {at}, where a list must stand")
        return tuple([read(item, f"{at}[{index}]") for index, item in enumerate(value)])

    return reader


def _pair_reader(keys: tuple[str, ...], readers: tuple[_Reader, ...]) -> _Reader:
    def reader(value: Any, at: str) -> Any:
        if not isinstance(value, dict) or any(key not in value for key in keys):
            raise DamagedError(f"needs an object with {' and '.join(keys)} at {at}")
        return tuple(read(value[key], f"{at}.{key}") for key, read in zip(keys, readers, strict=True))

    return reader


def _mapping_reader(read: _Reader) -> _Reader:
    def reader(value: Any, at: str) -> Any:
        if not isinstance(value, dict):
            raise DamagedError(f"holds {_shown(value)} at {at}, where an object must stand")
        return {key: read(item, f"{at}.{key}") for key, item in value.items()}

    return reader


def _scalar_reader(allowed: tuple[type, ...]) -> _Reader:
    def reader(value: Any, at: str) -> Any:
        if type(value) in allowed:
            return value
        if float in allowed:
            if type(value) is int:
                return _as_float(value, at)
            if isinstance(value, dict) and value.get("non_finite") in ("nan", "inf", "-inf"):
                return _FLOATS[value["non_finite"]]
        words = " or ".join("null" if kind is type(None) else kind.__name__ for kind in allowed)
        raise DamagedError(f"holds {_shown(value)} at {at}, where {words} must stand")

    return reader


def _as_float(value: int, at: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise DamagedError(f"holds a whole number at {at} that is too large for a float") from None


def _enum(kind: type[StrEnum], value: Any, at: str) -> StrEnum:
    try:
        return kind(value)
    except ValueError:
        raise DamagedError(f"holds {_shown(value)} at {at}, which must be one of {', '.join(kind)}") from None


def _infinite(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"non_finite"} and value["non_finite"] in ("nan", "inf", "-inf"):
            return _FLOATS[value["non_finite"]]
        return {key: _infinite(item) for key, item in value.items()}
    return [_infinite(item) for item in value] if isinstance(value, list) else value


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
