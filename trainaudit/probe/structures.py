"""Tensors inside whatever users put them into: tuples, mappings, dataclasses, objects with a `.to`. torch is imported inside functions only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_DEEPEST = 8


def mapped(value: Any, change: Callable[[Any], Any], other: Callable[[Any], Any] | None = None, depth: int = 0) -> Any:
    """The same structure with every tensor changed. Containers are rebuilt; other objects stay the same object, or become what `other` makes of them."""
    import torch

    if isinstance(value, torch.Tensor):
        return change(value)
    if depth > _DEEPEST:
        return value

    def inner(item: Any) -> Any:
        return mapped(item, change, other, depth + 1)

    if isinstance(value, Mapping):
        return _rebuilt(value, {key: inner(item) for key, item in value.items()})
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(inner, value))
    if isinstance(value, (tuple, list)):
        return type(value)(map(inner, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: inner(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
        return dataclasses.replace(value, **fields)
    return value if other is None else other(value)


def _rebuilt(value: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    """A mapping of the same type where that can be made from a dict (BatchEncoding, OrderedDict), else a dict."""
    if type(value) is dict:
        return items
    try:
        return type(value)(items)  # type: ignore[call-arg]
    except Exception:
        return items


def moved(value: Any, device: str) -> Any:
    """The structure on a device; an object of the user's own with a `.to` method moves itself. What stands in several places stays one object."""
    made: dict[int, Any] = {}

    def once(item: Any) -> Any:
        if id(item) not in made:
            made[id(item)] = item.to(device)
        return made[id(item)]

    return mapped(value, once, lambda item: once(item) if callable(getattr(item, "to", None)) else item)


def arrays_as_tensors(value: Any) -> Any:
    """numpy's arrays as tensors: float64 as float32, since numpy's default is no choice of the user's; numbers as they are."""
    import numpy as np
    import torch

    if isinstance(value, np.ndarray):
        if value.dtype == object or value.dtype.kind in "USMmV":
            return value
        if value.dtype == np.float64:
            value = value.astype(np.float32)
        elif value.dtype in (np.uint16, np.uint32, np.uint64):
            value = value.astype(np.int64)
        elif not value.dtype.isnative:
            value = value.astype(value.dtype.newbyteorder("="))
        return torch.from_numpy(np.array(value))  # a copy of its own, writable and in one piece
    if isinstance(value, np.generic):
        return arrays_as_tensors(np.asarray(value))
    if isinstance(value, Mapping):
        return _rebuilt(value, {key: arrays_as_tensors(item) for key, item in value.items()})
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(arrays_as_tensors(item) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(arrays_as_tensors(item) for item in value)
    return value


def tensors_in(value: Any) -> Iterator[tuple[str, Any]]:
    """(name, tensor) pairs in order: keys and field names joined by dots, places counted."""
    yield from _tensors(value, "", 0)


def _tensors(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    import torch

    if isinstance(value, torch.Tensor):
        yield path, value
        return
    if depth > _DEEPEST:
        return
    for key, item in parts_of(value):
        yield from _tensors(item, f"{path}.{key}" if path else key, depth + 1)


def parts_of(value: Any) -> list[tuple[str, Any]]:
    """What a container holds, by name; nothing for what is none."""
    if isinstance(value, Mapping):
        return [(str(key), item) for key, item in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, (tuple, list)):
        return [(str(place), item) for place, item in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return []


def size_of(value: Any) -> int:
    """Examples in a batch: the first axis of the first tensor with one; 1 where there is none."""
    return next((int(tensor.shape[0]) for _, tensor in tensors_in(value) if tensor.ndim), 1)


def bytes_of(value: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for _, tensor in tensors_in(value))


def rows_of_bytes(tensor: Any, rows: int) -> Any:
    """The bits of a tensor as a numpy array of bytes, (rows, bytes of each)."""
    import torch

    flat = tensor.detach().cpu().reshape(rows, -1).clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8).numpy() if flat.shape[1] else flat.to(torch.uint8).numpy()


def shapes_shown(value: Any) -> str:
    """The tensors' types and shapes as messages show them: "float32[32,3,8,8], int64[32]"."""
    shown = [
        f"{name + '=' if name and not name.isdigit() else ''}{str(tensor.dtype).removeprefix('torch.')}[{','.join(map(str, tensor.shape))}]"
        for name, tensor in tensors_in(value)
    ]
    return ", ".join(shown[:6]) + (", …" if len(shown) > 6 else "") or "no tensors"
