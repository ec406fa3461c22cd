"""The audit record as JSON and back. Field names are those of `result`; the schema is `schema/audit.schema.json`.

Standard JSON only: a float that is not finite is written as `{"non_finite": "nan"}` (or "inf", "-inf"). Pure ASCII, so that no
name in it can act on a terminal. Reading validates everything: a saved record may come from anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from trainaudit.errors import TrainauditError
from trainaudit.result import FORMAT, Run

_Record = TypeVar("_Record")
_PAIRS = {"failures": ("target", "reason"), "unrecognized": ("op", "count")}
"""Fields that hold pairs, written as objects with these names."""
_FLOATS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def render_json(run: Run) -> str:
    """The whole record; each field of the run and of an audit, each finding, outcome and layer on a line of its own."""
    document: dict[str, Any] = {"format": FORMAT, "tool": {"name": "trainaudit", "version": run.version}}
    document.update((name, value) for name, value in encoded(run).items() if name != "version")
    try:
        return _laid_out(document) + "\n"
    except ValueError:
        return _laid_out(_finite(document)) + "\n"


def _laid_out(record: Mapping[str, Any]) -> str:
    """An object with each field, and each record of a list, on a line of its own; the C encoder writes the rest."""
    lines = []
    for key, value in record.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n" + ",\n".join(map(_laid_out if key == "audits" else _compact, value)) + "\n]"
        else:
            text = _compact(value)
        lines.append(f"{_compact(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}"


def _compact(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def from_json(text: str | bytes, name: str = "the record") -> Run:
    """The record that `render_json` wrote. `name` is what messages call it.

    Raises `TrainauditError` with the slug "bad-record" where the text is not such a record, and "newer-record" where a newer version
    of the tool wrote it. Unknown fields are passed over: an older reader of the same format number may skip what was added later.
    """
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _bad(name, f"is not JSON ({str(error) or 'nested too deeply'})") from None
    if not isinstance(document, dict) or "format" not in document or "audits" not in document:
        raise _bad(name, "is JSON, but not an audit record")
    number = document["format"]
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise _bad(name, "has no valid format number")
    if number > FORMAT:
        raise TrainauditError(
            "newer-record",
            f"{name} has format {number}; this version of trainaudit reads formats up to {FORMAT}.",
            "Update trainaudit.",
        )
    tool = document.get("tool")
    if not isinstance(tool, dict) or not isinstance(tool.get("version"), str):
        raise _bad(name, "does not say which version of trainaudit wrote it (tool.version)")
    return decoded(Run, {**document, "version": tool["version"]}, "", name)


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
        elif isinstance(value, Mapping) and not isinstance(value, dict):
            document[name] = dict(value)
    return document


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return {"non_finite": "nan" if value != value else "inf" if value > 0 else "-inf"}
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def decoded(kind: type[_Record], value: Any, path: str, name: str) -> _Record:
    """A dictionary as a dataclass. `path` is where it stands, for messages."""
    if not isinstance(value, dict):
        raise _bad(name, f"holds {_shown(value)} at {path or 'the top'}, where an object must stand")
    arguments: dict[str, Any] = {}
    for field, read in _readers(kind):
        at = f"{path}.{field.name}" if path else field.name
        if field.name in value:
            arguments[field.name] = read(value[field.name], at, name)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise _bad(name, f"lacks {at}")
    return kind(**arguments)


_Reader = Callable[[Any, str, str], Any]
_known: dict[type, list[tuple[Any, _Reader]]] = {}


def _readers(kind: type) -> list[tuple[Any, _Reader]]:
    if kind not in _known:
        hints = get_type_hints(kind)
        _known[kind] = [(field, _reader(hints[field.name], field.name)) for field in fields(kind)]
    return _known[kind]


def _reader(hint: Any, field: str = "") -> _Reader:
    """The function that reads one type: dataclass, enum, tuple, mapping, union, scalar or anything."""
    origin, arguments = get_origin(hint), get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return lambda value, at, name: decoded(hint, value, at, name)
    if origin is tuple and field in _PAIRS:
        keys, types = _PAIRS[field], get_args(arguments[0])
        return _tuple_reader(_pair_reader(keys, tuple(_reader(item) for item in types)))
    if origin is tuple:
        return _tuple_reader(_reader(arguments[0]))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_reader(_reader(arguments[1]))
    if origin in (Union, UnionType):
        return _scalar_reader(arguments)
    if hint is object:
        return lambda value, _at, _name: _infinite(value)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return lambda value, at, name: _enum(hint, value, at, name)
    return _scalar_reader((hint,))


def _tuple_reader(read: _Reader) -> _Reader:
    def reader(value: Any, at: str, name: str) -> Any:
        if not isinstance(value, list):
            raise _bad(name, f"holds {_shown(value)} at {at}, where a list must stand")
        return tuple([read(item, f"{at}[{index}]", name) for index, item in enumerate(value)])

    return reader


def _pair_reader(keys: tuple[str, ...], readers: tuple[_Reader, ...]) -> _Reader:
    def reader(value: Any, at: str, name: str) -> Any:
        if not isinstance(value, dict) or any(key not in value for key in keys):
            raise _bad(name, f"needs an object with {' and '.join(keys)} at {at}")
        return tuple(read(value[key], f"{at}.{key}", name) for key, read in zip(keys, readers, strict=True))

    return reader


def _mapping_reader(read: _Reader) -> _Reader:
    def reader(value: Any, at: str, name: str) -> Any:
        if not isinstance(value, dict):
            raise _bad(name, f"holds {_shown(value)} at {at}, where an object must stand")
        return {key: read(item, f"{at}.{key}", name) for key, item in value.items()}

    return reader


def _scalar_reader(kinds: tuple[type, ...]) -> _Reader:
    allowed = tuple(kind for kind in kinds if isinstance(kind, type))

    def reader(value: Any, at: str, name: str) -> Any:
        if type(value) in allowed:
            return value
        if float in allowed:
            if type(value) is int:
                return float(value)
            if isinstance(value, dict) and value.get("non_finite") in _FLOATS:
                return _FLOATS[value["non_finite"]]
        words = " or ".join("null" if kind is type(None) else kind.__name__ for kind in allowed)
        raise _bad(name, f"holds {_shown(value)} at {at}, where {words} must stand")

    if any(not isinstance(kind, type) or is_dataclass(kind) for kind in kinds):
        inner = next(kind for kind in kinds if is_dataclass(kind))
        read = _reader(inner)
        return lambda value, at, name: None if value is None else read(value, at, name)
    return reader


def _enum(kind: type[StrEnum], value: Any, at: str, name: str) -> StrEnum:
    try:
        return kind(value)
    except ValueError:
        raise _bad(name, f"holds {_shown(value)} at {at}, which must be one of {', '.join(kind)}") from None


def _infinite(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"non_finite"} and value["non_finite"] in _FLOATS:
            return _FLOATS[value["non_finite"]]
        return {key: _infinite(item) for key, item in value.items()}
    return [_infinite(item) for item in value] if isinstance(value, list) else value


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _bad(name: str, what: str) -> TrainauditError:
    return TrainauditError(
        "bad-record",
        f"{name} {what}.",
        "Give the JSON that `trainaudit ... --output-format json` or `--report FILE.json` wrote.",
    )
