"""Random inputs for a file: of the declared types and shapes, and of numbers that its own tables can be indexed with."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from trainaudit.load.raw import RawGraph
from trainaudit.probe.onnx_module.values import MOST_ELEMENTS, NAMED_TYPES, POORLY_SUPPORTED, Tensor

_SIZES = (8, 32, 64, 224, 1)
"""Tried in turn for sizes that the file leaves open; the first axis of an input is the batch."""

_PASSING = frozenset({"Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Transpose", "Expand"})
"""Operators behind which an index is still the same index."""


def bounds(raw: RawGraph) -> dict[str, int]:
    """Of each input that picks rows of stored tables: how many rows the shortest has."""
    readers: dict[str, list[int]] = {}
    for index, node in enumerate(raw.nodes):
        for name in node.inputs:
            readers.setdefault(name, []).append(index)
    found: dict[str, int] = {}
    for start in raw.inputs:
        waiting, seen = [start], {start}
        while waiting:
            name = waiting.pop()
            for index in readers.get(name, ()):
                node = raw.nodes[index]
                if (
                    node.op == "Gather"
                    and len(node.inputs) > 1
                    and node.inputs[1] == name
                    and node.inputs[0] in raw.tensors
                ):
                    axis = node.attributes.get("axis", 0)
                    shape = raw.tensors[node.inputs[0]].shape
                    if isinstance(axis, int) and -len(shape) <= axis < len(shape):
                        found[start] = min(found.get(start, shape[axis]), shape[axis])
                elif node.op in _PASSING and node.inputs[0] == name:
                    fresh = [output for output in node.outputs if output and output not in seen]
                    seen.update(fresh)
                    waiting += fresh
    return found


def why_not(raw: RawGraph) -> str:
    """Why no inputs can be drawn, "" where they can."""
    for name in raw.inputs:
        kind = raw.dtypes.get(name)
        if kind is None:
            return f"the input {name} is no tensor"
        if kind not in NAMED_TYPES or NAMED_TYPES[kind].is_complex or kind.startswith(("float8", "bfloat16")):
            return f"the input {name} holds {kind}"
        if name not in raw.shapes:
            return f"the file does not say how many axes the input {name} has"
    return ""


def drawn(raw: RawGraph, seed: int) -> Iterator[dict[str, Tensor]]:
    """Inputs, one set after another: sizes that the file leaves open grow, then floats move away from zero.

    Floats are normal, then uniform in (0, 1), then in (1, 2), for functions that are not defined everywhere; integers are below the
    number of rows of the tables that they index, else 0 or 1; the generator is seeded for each set.
    """
    rows = bounds(raw)
    for kind in ("normal", "uniform", "beyond one"):
        tried: set[tuple[tuple[int, ...], ...]] = set()
        for size in _SIZES:
            shapes = {name: _shape(raw, name, size) for name in raw.inputs}
            key = tuple(shapes.values())
            total = sum(torch.Size(shape).numel() for shape in key)
            if key in tried or total > MOST_ELEMENTS >> 3:
                continue
            tried.add(key)
            generator = torch.Generator().manual_seed(seed)
            yield {
                name: _values(shape, NAMED_TYPES[raw.dtypes[name]], rows.get(name), kind, generator)
                for name, shape in shapes.items()
            }


def _shape(raw: RawGraph, name: str, size: int) -> tuple[int, ...]:
    """The declared shape, with 2 for an open batch and `size` for other open axes."""
    return tuple(
        axis if isinstance(axis, int) else 2 if place == 0 and size != 1 else size
        for place, axis in enumerate(raw.shapes[name])
    )


def _values(
    shape: tuple[int, ...], dtype: torch.dtype, rows: int | None, kind: str, generator: torch.Generator
) -> Tensor:
    if dtype.is_floating_point:
        if kind == "normal":
            return torch.randn(shape, generator=generator).to(dtype)
        return (torch.rand(shape, generator=generator) + (kind == "beyond one")).to(dtype)
    if dtype is torch.bool:
        return torch.rand(shape, generator=generator) < 0.5
    high = max(min(rows if rows is not None else 2, torch.iinfo(dtype).max), 1)
    values = torch.randint(0, high, shape, generator=generator)
    return values.to(torch.int64 if dtype in POORLY_SUPPORTED else dtype).to(dtype)
