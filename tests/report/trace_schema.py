"""The part of the audit's schema that describes the trace and the proofs of fixes, made of its classes: their annotations, and the texts beneath their fields."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from trainaudit import plain
from trainaudit.changes import Change
from trainaudit.result import Effect, Proof
from trainaudit.trace import data, experiments, trace

_SCALARS: dict[Any, dict[str, str]] = {
    str: {"type": "string"}, int: {"type": "integer"}, bool: {"type": "boolean"}, float: {"$ref": "#/$defs/float"},
    type(None): {"type": "null"},
}  # fmt: skip

KINDS = (
    Change,
    Effect,
    Proof,
    *(
        kind
        for module in (trace, data, experiments)
        for kind in vars(module).values()
        if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == module.__name__
    ),
)


def definitions() -> dict[str, Any]:
    """Name of a class → its schema, as it stands in `$defs`."""
    return {kind.__name__: _definition(kind) for kind in KINDS}


def _definition(kind: Any) -> dict[str, Any]:
    hints, texts = get_type_hints(kind), _texts(kind)
    description = inspect.getdoc(kind)
    return {
        "type": "object",
        **({"description": " ".join(description.split())} if description else {}),
        "required": [item.name for item in fields(kind) if item.default is MISSING and item.default_factory is MISSING],
        "properties": {
            item.name: {
                **({"description": texts[item.name]} if item.name in texts else {}),
                **_schema(hints[item.name], item.name),
            }
            for item in fields(kind)
        },
    }


def _texts(kind: type) -> dict[str, str]:
    """Field → the text beneath it."""
    found, last = {}, ""
    body: Any = ast.parse(inspect.getsource(kind)).body[0]
    for node in body.body:
        if isinstance(node, ast.AnnAssign):
            last = node.target.id  # type: ignore[union-attr]
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and last:
            found[last] = " ".join(str(node.value.value).split())
            last = ""
    return found


def _schema(hint: Any, name: str = "") -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return {"$ref": f"#/$defs/{hint.__name__}"}  # type: ignore[union-attr]
    if origin is tuple and name in plain._PAIRS:
        keys = plain._PAIRS[name]
        parts = {key: _schema(part) for key, part in zip(keys, get_args(arguments[0]), strict=True)}
        return {"type": "array", "items": {"type": "object", "required": list(keys), "properties": parts}}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0])}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1])}
    if origin in (Union, UnionType):
        return {"anyOf": [_schema(part) for part in arguments]}
    return dict(_SCALARS[hint])
