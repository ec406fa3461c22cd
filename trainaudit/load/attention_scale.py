"""The scalar factors on the way from a projection to the product of queries and keys. Stdlib, numpy, ir and load's index only.

A factor before a stored bias, q·c + b, is moved behind it, (q + b/c)·c: so Funnel (Dai et al. 2020) scales queries before it adds the
biases that it has from Transformer-XL (Dai et al. 2019).
"""

from __future__ import annotations

import math

import numpy as np

from trainaudit.frozen import frozen
from trainaudit.load.datatypes import Array
from trainaudit.load.known import ComputedData, Stored
from trainaudit.load.wiring import Wiring

_MOVES = frozenset({"Cast", "CastLike", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity"})


@frozen
class ScaledBias:
    """The Add node at `place` reads `scaled`, which is `factor` times `source`, and the stored value `bias`."""

    place: int
    scaled: str
    source: str
    bias: str
    factor: float


def unscaled(
    wiring: Wiring, name: str, moved: list[tuple[str, str]], biased: list[ScaledBias], members: list[int]
) -> tuple[str, float]:
    """A value that enters the product as it was before its scalar factors, and their product. Each is taken out of the graph: (its output, its input)
    goes to `moved`, and the product reads the unscaled value; one before a stored bias goes to `biased`."""
    factor = 1.0
    first = name
    current = name
    for _ in range(8):
        place = wiring.producer.get(current)
        if place is None or wiring.taken[place] or place in members:
            break
        node = wiring.nodes[place]
        readers = wiring.consumers.get(current, [])
        if current in wiring.outputs or len({r for r in readers if wiring.nodes[r].op != "Shape"}) != 1:
            break
        if node.op in ("Mul", "Div"):
            split = wiring.split_scalar(node)
            if split is None or (node.op == "Div" and node.inputs[0] != split[0]) or split[1] == 0:
                break
            factor *= split[1] if node.op == "Mul" else 1.0 / split[1]
            members.append(place)
            if current == first:
                first = split[0]
            moved.append((current, split[0]))
            current = split[0]
        elif node.op in _MOVES:
            current = node.inputs[0]
        else:
            bias = _scaled_bias(wiring, place)
            if bias is not None:
                factor *= bias.factor
                biased.append(bias)
                if len(set(wiring.consumers[bias.scaled])) == 1:
                    members.append(wiring.producer[bias.scaled])
            break
    return first, factor


def rewire(wiring: Wiring, old: str, new: str) -> None:
    """Let all who read one value read another."""
    for reader in wiring.consumers.pop(old, []):
        node = wiring.nodes[reader]
        node.inputs = [new if name == old else name for name in node.inputs]
        wiring.consumers.setdefault(new, []).append(reader)


def _scaled_bias(wiring: Wiring, place: int) -> ScaledBias | None:
    """x·c + b at a node, where c is one stored number and b a stored vector or table."""
    node = wiring.nodes[place]
    if node.op != "Add" or len(node.inputs) != 2:
        return None
    left, right = node.inputs
    scaled, bias = (left, right) if wiring.is_stored(right) else (right, left)
    if wiring.is_stored(scaled) or not wiring.is_stored(bias):
        return None
    maker = wiring.maker(scaled, "Mul", "Div")
    split = None if maker is None else wiring.split_scalar(wiring.nodes[maker])
    if maker is None or split is None or not split[1] or not math.isfinite(split[1]):
        return None
    source, number = split
    if wiring.nodes[maker].op == "Mul":
        return ScaledBias(place, scaled, source, bias, number)
    return ScaledBias(place, scaled, source, bias, 1.0 / number) if wiring.nodes[maker].inputs[0] == source else None


def scale_after_bias(wiring: Wiring, found: ScaledBias) -> None:
    """Let the Add read the unscaled value and b/c; whoever else reads the scaled value goes on doing so."""
    unscaled = _unscaled_bias(wiring, found)
    changed = {found.scaled: found.source, found.bias: unscaled}
    node = wiring.nodes[found.place]
    node.inputs = [changed.get(name, name) for name in node.inputs]
    for old, new in changed.items():
        wiring.consumers[old] = [reader for reader in wiring.consumers.get(old, ()) if reader != found.place]
        wiring.consumers.setdefault(new, []).append(found.place)


def _unscaled_bias(wiring: Wiring, found: ScaledBias) -> str:
    """The name of b/c: that of the parameter itself where the graph multiplied it by c before."""
    maker = wiring.producer.get(found.bias)
    if maker is not None and wiring.nodes[maker].op == "Mul":
        first, second = wiring.nodes[maker].inputs
        for parameter, factor in ((first, wiring.scalar(second)), (second, wiring.scalar(first))):
            if factor is not None and wiring.is_stored(parameter) and math.isclose(factor, found.factor, rel_tol=1e-6):
                return parameter
    whole = wiring.stored(found.bias)
    assert whole is not None

    def divided() -> Array:
        return np.asarray(whole.read().astype(np.float64) / found.factor, np.float32)

    name = f"{found.bias} (unscaled)"
    wiring.known[name] = Stored(name, ComputedData(whole.shape, whole.data.dtype, divided), whole.shape)
    return name
