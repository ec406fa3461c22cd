"""From a node of the file to a call of the table's function. The function's signature is all there is to know about it:

- positional parameters are the node's inputs, `*names` a list of any length; an attribute of the same name fills one that older opsets gave
  as an attribute (the axes of a Squeeze);
- an input annotated `Ints`, `Int`, `Floats`, `Float` or `Number` is read on the host, once where it is a constant;
- keyword-only parameters are attributes, and what is not among them is refused;
- of these `opset`, `outputs` (how many are read), `training` (the module's mode) and `tracked` (see `planner`) are not attributes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from trainaudit.ir.graph import TensorData
from trainaudit.ir.tensor import ArrayData
from trainaudit.load.raw import RawAttribute
from trainaudit.probe.onnx_module.values import NAMED_TYPES, Tensor, UnsupportedError, type_of

Reader = Callable[[Any], Any]


def _ints(value: Any) -> list[int]:
    return [int(number) for number in value.reshape(-1).tolist()] if isinstance(value, Tensor) else value


def _floats(value: Any) -> list[float]:
    return [float(number) for number in value.reshape(-1).tolist()] if isinstance(value, Tensor) else value


def _int(value: Any) -> int:
    return int(value.item()) if isinstance(value, Tensor) else value


def _float(value: Any) -> float:
    return float(value.item()) if isinstance(value, Tensor) else value


def _number(value: Any) -> int | float:
    return value.item() if isinstance(value, Tensor) else value


READERS: dict[str, Reader] = {"Number": _number, "Ints": _ints, "Int": _int, "Floats": _floats, "Float": _float}
_TYPES = frozenset({"to", "dtype", "output_dtype", "output_datatype", "softmax_precision"})
_GIVEN = frozenset({"opset", "outputs", "training", "tracked"})


@dataclass(frozen=True, slots=True)
class Signature:
    """`positional` are the names of inputs, `readers` how those at their places are read on the host."""

    positional: tuple[str, ...]
    required: int
    is_variadic: bool
    keywords: frozenset[str]
    needed: frozenset[str]
    readers: tuple[tuple[int, Reader], ...]


@lru_cache(maxsize=512)
def signature_of(function: Callable[..., Any]) -> Signature:
    """What the function's parameters say."""
    positional: list[str] = []
    required, is_variadic = 0, False
    keywords, needed = set(), set()
    readers: list[tuple[int, Reader]] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords.add(name)
            if parameter.default is parameter.empty and name not in _GIVEN:
                needed.add(name)
        elif parameter.kind is parameter.VAR_POSITIONAL:
            is_variadic = True
        else:
            reader = READERS.get(str(parameter.annotation).removesuffix(" | None"))
            if reader is not None:
                readers.append((len(positional), reader))
            required += parameter.default is parameter.empty
            positional.append(name)
    return Signature(tuple(positional), required, is_variadic, frozenset(keywords), frozenset(needed), tuple(readers))


def to_tensor(data: TensorData) -> Tensor:
    """Stored values as a torch tensor of the stored type. Raises `UnsupportedError` for a type that torch lacks."""
    values = data.read()
    kind = NAMED_TYPES.get(data.dtype)
    if kind is None:
        if values.dtype.name not in ("int8", "uint8"):
            raise UnsupportedError(f"holds {data.dtype}")
        kind = NAMED_TYPES[values.dtype.name]  # 2- and 4-bit integers, which are read as bytes
    owned = values if values.flags.writeable and not isinstance(data, ArrayData) else np.array(values)
    return torch.from_numpy(owned).to(kind)


def keywords_of(
    function: Callable[..., Any],
    attributes: Mapping[str, RawAttribute],
    inputs: tuple[str, ...],
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """The keyword arguments that a node's attributes stand for. Raises `UnsupportedError` where they do not fit the function."""
    signature = signature_of(function)
    if not signature.is_variadic and len(inputs) > len(signature.positional):
        raise UnsupportedError(f"has {len(inputs)} inputs")
    keywords: dict[str, Any] = {name: value for name, value in given.items() if name in signature.keywords}
    for name, stated in attributes.items():
        value = _attribute(stated)
        if name in _TYPES and isinstance(value, int) and value:
            type_of(value)
        if name in signature.positional:
            place = signature.positional.index(name)
            if place < len(inputs) and inputs[place]:
                raise UnsupportedError(f"gives {name} twice")
            keywords[name] = value
        elif name in signature.keywords and name not in _GIVEN:
            keywords[name] = value
        else:
            raise UnsupportedError(f"has the attribute {name}")
    missing = [name for name in sorted(signature.needed) if name not in keywords]
    absent = [
        name
        for place, name in enumerate(signature.positional[: signature.required])
        if name not in keywords and (place >= len(inputs) or not inputs[place])
    ]
    if missing or absent:
        raise UnsupportedError(f"lacks {', '.join(missing + absent)}")
    for place in range(len(inputs), 0, -1):  # an absent input may not hide the attribute of its name
        name = signature.positional[place - 1] if place <= len(signature.positional) else ""
        if name in keywords and place <= len(inputs) and not inputs[place - 1]:
            raise UnsupportedError(f"gives {name} as an attribute beside an absent input")
    return keywords


def _attribute(stated: RawAttribute) -> Any:
    if isinstance(stated, int | float | str | list):
        return stated
    return to_tensor(stated)
