"""Walks over a graph. Nothing recurses; every walk is linear in the edges that it sees. May import ir only.

Layers are indices into `Graph.layers`. Where a walk can end at a graph input, `-1 - k` stands for the k-th one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from heapq import heapify, heappop, heappush

from trainaudit.ir.graph import Graph, Layer
from trainaudit.ir.ops import SHAPING, Op

_STEPS_PER_LAYER = 16
"""`common_forks` gives up after this many steps for each layer of the graph: only skips within skips within skips need more."""


def layers_before(graph: Graph, values: Iterable[str]) -> set[int]:
    """The layers that any of `values` depends on, their producers included."""
    found: set[int] = set()
    pending = [graph.values[name].producer for name in values]
    while pending:
        index = pending.pop()
        if index is not None and index not in found:
            found.add(index)
            pending.extend([graph.values[name].producer for name in graph.layers[index].inputs])
    return found


def layers_after(graph: Graph, values: Iterable[str]) -> set[int]:
    """The layers that depend on any of `values`, their consumers included."""
    found: set[int] = set()
    pending = [index for name in values for index in graph.values[name].consumers]
    while pending:
        index = pending.pop()
        if index not in found:
            found.add(index)
            for name in graph.layers[index].outputs:
                pending.extend(graph.values[name].consumers)
    return found


def depths(graph: Graph) -> list[int]:
    """For each layer the number of layers on the longest path to it from an input, itself included."""
    result: list[int] = []
    values = graph.values
    for layer in graph.layers:
        deepest = 0
        for name in layer.inputs:
            producer = values[name].producer
            if producer is not None and result[producer] > deepest:
                deepest = result[producer]
        result.append(deepest + 1)
    return result


def producer_skipping(graph: Graph, value: str, skipped: Collection[Op] = SHAPING) -> Layer | None:
    """The layer that computed what `value` holds, past layers in `skipped` (along their first input); None for an input."""
    producer = graph.values[value].producer
    while producer is not None:
        layer = graph.layers[producer]
        if layer.op not in skipped or not layer.inputs:
            return layer
        producer = graph.values[layer.inputs[0]].producer
    return None


def consumers_skipping(graph: Graph, value: str, skipped: Collection[Op] = SHAPING) -> list[Layer]:
    """The layers that compute with `value`, past layers in `skipped`, in topological order."""
    found: set[int] = set()
    seen: set[int] = set()
    pending = list(graph.values[value].consumers)
    while pending:
        index = pending.pop()
        if index in seen:
            continue
        seen.add(index)
        layer = graph.layers[index]
        if layer.op not in skipped:
            found.add(index)
            continue
        for name in layer.outputs:
            pending.extend(graph.values[name].consumers)
    return [graph.layers[index] for index in sorted(found)]


def sole_consumer(graph: Graph, layer: Layer) -> Layer | None:
    """The only layer that reads what `layer` gives; None for several, for none, and where an output of the graph is among it."""
    readers = {index for name in layer.outputs for index in graph.values[name].consumers}
    if len(readers) != 1 or any(name in graph.outputs for name in layer.outputs):
        return None
    return graph.layers[readers.pop()]


def ancestors(graph: Graph, layer: Layer, through: Collection[Op], limit: int = 64) -> list[Layer]:
    """Up to `limit` layers with kinds in `through` that `layer` depends on by way of such layers alone, the latest first."""
    found: list[Layer] = []
    seen: set[int] = set()
    pending: list[int] = []
    here: Layer | None = layer
    while here is not None:
        for name in here.inputs:
            index = graph.values[name].producer
            if index is not None and index not in seen and graph.layers[index].op in through:
                seen.add(index)
                heappush(pending, -index)
        here = graph.layers[-heappop(pending)] if pending and len(found) < limit else None
        if here is not None:
            found.append(here)
    return found


def common_forks(graph: Graph, joins: Iterable[int] | None = None) -> dict[int, int]:
    """For each join of two activations the nearest fork: the last layer in topological order that both depend on.

    `joins` are layers with two inputs, by default every ADD; the fork is a graph input where nothing later is shared. A residual sum
    is a join whose fork feeds one operand unchanged, or through a projection. Joins of unrelated activations are absent.
    """
    if joins is None:
        joins = [layer.index for layer in graph.layers if layer.op is Op.ADD]
    inputs = {name: -1 - position for position, name in enumerate(graph.inputs)}
    steps = _STEPS_PER_LAYER * len(graph.layers)
    forks: dict[int, int] = {}
    for join in joins:
        operands = graph.layers[join].inputs
        if len(operands) == 2 and steps > 0:
            fork, steps = _common_fork(graph, inputs, operands, steps)
            if fork is not None:
                forks[join] = fork
    return forks


def _common_fork(graph: Graph, inputs: dict[str, int], operands: tuple[str, ...], steps: int) -> tuple[int | None, int]:
    """Walks back from both operands, always from the latest layer; the first one that both walks reach is the fork."""
    values, layers = graph.values, graph.layers
    reached: dict[int, int] = {}
    for side, name in enumerate(operands):
        place = _place(values[name].producer, inputs, name)
        if place is not None:
            reached[place] = reached.get(place, 0) | 1 << side
    pending = [-place for place in reached]
    heapify(pending)
    while pending and steps > 0:
        steps -= 1
        place = -heappop(pending)
        sides = reached[place]
        if sides == 3:
            return place, steps
        if place < 0:
            continue
        for name in layers[place].inputs:
            before = _place(values[name].producer, inputs, name)
            if before is None:
                continue
            known = reached.get(before, 0)
            reached[before] = known | sides
            if not known:
                heappush(pending, -before)
    return None, steps


def _place(producer: int | None, inputs: dict[str, int], name: str) -> int | None:
    return inputs.get(name) if producer is None else producer
