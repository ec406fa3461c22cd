"""The invariants of `ir.graph`, checked. May import ir only."""

from __future__ import annotations

from collections.abc import Iterator

from trainaudit.ir.graph import Graph
from trainaudit.ir.text import word


def verify(graph: Graph) -> tuple[str, ...]:
    """One sentence for each invariant that the graph breaks; () for a sound graph. Linear in the graph's size."""
    return (*_names(graph), *_order(graph), *_consumers(graph), *_parameters(graph), *_ends(graph))


def _names(graph: Graph) -> Iterator[str]:
    seen: set[str] = set()
    for position, layer in enumerate(graph.layers):
        if layer.index != position:
            yield f"layer {word(layer.name)} stands at {position} and says {layer.index}"
        if layer.name in seen:
            yield f"two layers are named {word(layer.name)}"
        seen.add(layer.name)
    for kind, table in (("value", graph.values), ("parameter", graph.parameters)):
        for key, item in table.items():
            if key != item.name:
                yield f"{kind} {word(item.name)} is listed as {word(key)}"
    for name in graph.parameters.keys() & graph.values.keys():
        yield f"{word(name)} is both a parameter and a value"


def _order(graph: Graph) -> Iterator[str]:
    """Everything is made once, before it is read."""
    made = set(graph.inputs)
    if len(made) != len(graph.inputs):
        yield "two inputs have the same name"
    for position, layer in enumerate(graph.layers):
        for name in layer.inputs:
            if name not in made:
                yield f"layer {word(layer.name)} reads {word(name)}, which nothing before it makes"
        for name in layer.outputs:
            if name in made:
                yield f"value {word(name)} is made twice"
            made.add(name)
            value = graph.values.get(name)
            if value is None:
                yield f"value {word(name)}, made by layer {word(layer.name)}, is not listed"
            elif value.producer != position:
                yield f"value {word(name)} is made by layer {position} and says {value.producer}"
    for name in graph.values.keys() - made:
        yield f"value {word(name)} is made by nothing"


def _consumers(graph: Graph) -> Iterator[str]:
    readers: dict[str, list[int]] = {}
    for position, layer in enumerate(graph.layers):
        for name in dict.fromkeys(layer.inputs):
            readers.setdefault(name, []).append(position)
    for name, value in graph.values.items():
        actual = readers.get(name, [])
        if list(dict.fromkeys(value.consumers)) != actual:
            yield f"value {word(name)} is read by layers {actual} and says {list(value.consumers)}"


def _parameters(graph: Graph) -> Iterator[str]:
    owners: dict[str, list[int]] = {}
    for position, layer in enumerate(graph.layers):
        for name in dict.fromkeys(layer.parameters.values()):
            owners.setdefault(name, []).append(position)
    for name, actual in owners.items():
        if name not in graph.parameters:
            yield f"layer {word(graph.layers[actual[0]].name)} has the parameter {word(name)}, which is not listed"
    for name, parameter in graph.parameters.items():
        actual = owners.get(name, [])
        if sorted(set(parameter.owners)) != actual:
            yield f"parameter {word(name)} belongs to layers {actual} and says {list(parameter.owners)}"
        if any(size < 0 for size in parameter.shape):
            yield f"parameter {word(name)} has a negative size"


def _ends(graph: Graph) -> Iterator[str]:
    for name in graph.inputs:
        value = graph.values.get(name)
        if value is None:
            yield f"input {word(name)} is not listed among the values"
        elif value.producer is not None:
            yield f"input {word(name)} is made by layer {value.producer}"
    for name in graph.outputs:
        if name not in graph.values:
            yield f"output {word(name)} is no value"
