"""Synthetic inputs: by shape, type and name of what the model is called with, drawn from one seed. torch is imported inside functions only.

Floats are standard normal. Those with axes of space or time share a quarter of their variance between all places of one example (an image's
colour, a sequence's level), as real ones do, so that averages over places tell examples apart; the second moment, which is what predicted signals
are about, is the same. Token ids are drawn more often the lower they are, as the words of a language.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Graph
from trainaudit.ir.ops import Op
from trainaudit.load.target import InputSpec
from trainaudit.load.torch.examples import tensor_of

BATCH_SIZE = 32
_BATCHES, _HELD = 16, 4
_MOST_ELEMENTS = 1 << 25
"""Of all batches of one input together: 128 MiB of float32."""
_ELEMENTS_OF_A_BATCH = 1 << 22
"""A batch is made smaller until its largest input has no more."""
_LENGTH, _EXTENT = 16, 64
_KEPT = ("mask", "position", "token_type", "segment")
"""Parts of names of inputs that are no data."""
SHARED = 0.25
"""Share of the variance that all places of one example have in common."""


@frozen
class Example:
    """What a model is called with: positional tensors first, then named ones. `batch` is the size of the batch axis in them, `axis` that axis
    in each input that has one."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def items(self) -> list[tuple[str, Any]]:
        return [*((str(place), value) for place, value in enumerate(self.args)), *self.kwargs.items()]


def example_of_graph(graph: Graph) -> Example:
    """Inputs as the graph declares them: an open batch axis of 2, other open axes short ones; token ids below the embedding's rows."""
    values = []
    for name in graph.inputs:
        value = graph.values[name]
        shape = tuple(_size(size, place, len(value.shape or ())) for place, size in enumerate(value.shape or ()))
        dtype = (
            value.dtype
            if value.dtype in ("float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
            else "float32"
        )
        values.append(tensor_of(InputSpec(_word(name), dtype, shape), vocabulary=rows_read_by(graph, name)))
    return Example(tuple(values))


def _size(size: Any, place: int, rank: int) -> int:
    if isinstance(size, int):
        return size
    if place == 0:
        return 2
    return _EXTENT if rank >= 4 else _LENGTH


def _word(name: str) -> str:
    return "".join(mark if mark.isalnum() or mark == "_" else "_" for mark in name) or "input"


def rows_read_by(graph: Graph, name: str) -> int | None:
    """Rows of the embedding that an input of integers indexes."""
    seen, wave = set(), [name]
    while wave:
        value = graph.values.get(wave.pop())
        for place in () if value is None else value.consumers:
            layer = graph.layers[place]
            table = next(
                (graph.parameters[word] for word in layer.parameters.values() if word in graph.parameters), None
            )
            if layer.op in (Op.EMBEDDING, Op.GATHER) and table is not None and len(table.shape) == 2:
                return table.shape[0]
            if place not in seen and layer.op in (
                Op.CAST,
                Op.IDENTITY,
                Op.RESHAPE,
                Op.FLATTEN,
                Op.SQUEEZE,
                Op.UNSQUEEZE,
                Op.TRANSPOSE,
            ):
                seen.add(place)
                wave += layer.outputs
    return None


def fitting_size(example: Example, wanted: int | None) -> int:
    """Examples in a synthetic batch: as wanted, else 32 or as many as keep the largest input within bounds."""
    if wanted is not None:
        return wanted
    each = max(
        (value.numel() // max(1, value.shape[0]) for _, value in example.items if is_tensor(value) and value.ndim),
        default=1,
    )
    return int(max(2, min(BATCH_SIZE, _ELEMENTS_OF_A_BATCH // max(1, each))))


def few(example: Example) -> int:
    """Examples that a model is tried on: at least 4, and as many as hold a million values."""
    each = sum(value.numel() // max(1, value.shape[0]) for _, value in example.items if is_tensor(value) and value.ndim)
    return int(max(4, (1 << 20) // max(1, each)))


def batch_count(example: Example, size: int) -> int:
    each = sum(value.numel() // max(1, value.shape[0]) for _, value in example.items if is_tensor(value) and value.ndim)
    return int(max(2, min(_BATCHES, _MOST_ELEMENTS // max(1, each * size))))


def drawn(example: Example, size: int, seed: int, graph: Graph | None, model: Any) -> Example:
    """A batch of `size` examples like the example: floats standard normal, token ids and other integers in their range; masks, positions, types of
    tokens and truths as they are in it. An input without a batch axis stays the same tensor."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    batch = next((int(value.shape[0]) for _, value in example.items if is_tensor(value) and value.ndim), 0)
    is_known = graph is not None and len(graph.inputs) == len(example.items)
    in_graph = list(graph.inputs) if graph is not None and is_known else [""] * len(example.items)

    def one(name: str, value: Any, word: str) -> Any:
        if not is_tensor(value) or not value.ndim or value.shape[0] != batch:
            return value
        shape = (size, *value.shape[1:])
        if value.dtype == torch.bool or any(mark in name.lower() for mark in _KEPT):
            return value[:1].expand(shape).clone()
        if value.is_floating_point():
            return _normal(shape, generator, is_convolved(graph, word)).to(value.dtype)
        if value.is_complex():
            return torch.randn(shape, generator=generator, dtype=torch.complex64).to(value.dtype)
        rows = rows_read_by(graph, word) if graph is not None and word else None
        top = rows or _vocabulary(model) or int(value.max()) + 1
        top = max(1, min(top, torch.iinfo(value.dtype).max))
        return (torch.rand(shape, generator=generator) ** 3 * top).long().clamp_max(top - 1).to(value.dtype)

    names = _names(example, in_graph, model)
    values = [one(name, item[1], word) for name, item, word in zip(names, example.items, in_graph, strict=True)]
    count = len(example.args)
    return Example(tuple(values[:count]), dict(zip(example.kwargs, values[count:], strict=True)))


def _names(example: Example, in_graph: list[str], model: Any) -> list[str]:
    """What each input is called: by the graph, else by forward's parameters."""
    import inspect

    placed = list(inspect.signature(model.forward).parameters)[: len(example.args)]
    placed += [""] * (len(example.args) - len(placed))
    return [f"{word} {name}" for word, name in zip(in_graph, [*placed, *example.kwargs], strict=True)]


def _normal(shape: tuple[int, ...], generator: Any, is_convolved: bool) -> Any:
    import torch

    noise = torch.randn(shape, generator=generator)
    if len(shape) < 3:
        return noise
    kept = 1 if len(shape) >= 4 or is_convolved else 2
    level = torch.randn([size if axis in (0, kept) else 1 for axis, size in enumerate(shape)], generator=generator)
    return (1 - SHARED) ** 0.5 * noise + SHARED**0.5 * level


def is_convolved(graph: Graph | None, name: str) -> bool:
    value = None if graph is None else graph.values.get(name)
    return (
        value is not None and graph is not None and any(graph.layers[place].op is Op.CONV for place in value.consumers)
    )


def _vocabulary(model: Any) -> int | None:
    import torch

    kinds = (torch.nn.Embedding, torch.nn.EmbeddingBag)
    return next((int(part.num_embeddings) for part in model.modules() if isinstance(part, kinds)), None)


def is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)
