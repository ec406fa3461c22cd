"""Which layer of the graph each call of a forward pass is. Stdlib only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from trainaudit.ir.graph import Graph, Layer
from trainaudit.ir.ops import Op


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it was seen: `ordinal` counts calls of that op in that module since the forward pass began."""

    module: str
    op: Op
    ordinal: int
    weight: str = ""
    layer: str = ""
    """Its name in the graph, where that is known from the start."""


def matched(graph: Graph | None, calls: Sequence[Call]) -> list[str]:
    """For each call of one forward pass, in order, the name of its layer, "" where there is none or where it would be a guess.

    Weighted calls are matched by the parameter that they read and the others by module and op; both in the order in which they are made, and only where
    the graph has as many as there were calls. Where the graph does not know of modules, the calls of an op count over the whole network.
    """
    if graph is None or not graph.layers or all(call.layer for call in calls):
        return [call.layer for call in calls]
    knows_modules = any(layer.source.module for layer in graph.layers)
    layers: dict[object, list[Layer]] = defaultdict(list)
    for layer in graph.layers:
        for name in set(layer.parameters.values()):
            layers[name].append(layer)
        layers[(layer.source.module or "") if knows_modules else None, layer.op].append(layer)
    for key, found in layers.items():
        if isinstance(key, str) and len({layer.op for layer in found}) > 1:
            first = found[0].op
            layers[key] = [layer for layer in found if layer.op is first]
    keys: list[object] = [_key(call, layers, knows_modules) for call in calls]
    counts, seen, taken = Counter(keys), Counter[object](), set[int]()
    names: list[str] = []
    for key, call in zip(keys, calls, strict=True):
        found = layers.get(key, [])
        place, seen[key] = seen[key], seen[key] + 1
        is_sure = len(found) == counts[key] and (
            isinstance(key, tuple) or found[place].op is call.op or call.op is Op.LINEAR
        )
        if not is_sure or found[place].index in taken:
            names.append("")
        else:
            taken.add(found[place].index)
            names.append(found[place].name)
    return names


def _key(call: Call, layers: dict[object, list[Layer]], knows_modules: bool) -> object:
    if call.weight and any(layer.op is call.op for layer in layers.get(call.weight, ())):
        return call.weight
    return call.module if knows_modules else None, call.op
