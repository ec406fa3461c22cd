"""Attention: the product of queries and keys, its scaling and masking, the softmax, and the product with the values.

One pattern for both exporters, eager and fused code, einsum and matmul: backwards from the softmax over everything that keeps the
scores' order up to the product, forwards up to the next product. Stdlib, ir, load.wiring, load.attention_scale and load.recognize_masks only.
"""

from __future__ import annotations

import math
from dataclasses import field

from trainaudit.frozen import slotted
from trainaudit.ir.graph import Attribute
from trainaudit.ir.ops import Op
from trainaudit.load.attention_scale import ScaledBias, rewire, scale_after_bias, unscaled
from trainaudit.load.raw import RawNode
from trainaudit.load.recognize_masks import add_masks
from trainaudit.load.wiring import Draft, Wiring, number, word

_KEEPS_SCORES = frozenset(
    {"Cast", "CastLike", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Clip", "Transpose", "Expand"}
)
_PRODUCTS = frozenset({"MatMul", "Einsum", "FusedMatMul", "Gemm"})
_FORWARD = frozenset({"Cast", "CastLike", "Dropout", "Reshape", "Identity", "Where", "Mul"})
_STEPS = 48
"""Most nodes that are looked at between a softmax and the product of queries and keys."""


@slotted
class _Scores:
    """The way back from the softmax to the product of queries and keys."""

    product: int = -1
    scale: float = 1.0
    members: list[int] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    fills: list[float] = field(default_factory=list)
    softcap: float | None = None
    visited: int = 0


def attention(wiring: Wiring, softmax: Draft) -> Draft | None:
    """The attention around a softmax, or None."""
    place = softmax.node
    x, weights = softmax.inputs[0], softmax.outputs[0]
    rank = wiring.rank(x)
    dim = softmax.attributes.get("dim")
    if not isinstance(dim, int) or (dim != -1 and (rank is None or dim != rank - 1)):
        return None
    scores = _Scores()
    if not _backwards(wiring, x, scores):
        return None
    after = _forwards(wiring, weights)
    if after is None:
        return None
    last, value, guards, exposed = after
    members = [*softmax.nodes, *scores.members, scores.product, last, *guards]
    node = wiring.nodes[last]
    output = node.outputs[0]
    exits = [output, *dict.fromkeys([*exposed, *_measured(wiring, members, output)])]
    if not wiring.is_closed(members, exits):
        return None
    query, key = wiring.nodes[scores.product].inputs[:2]
    scale = scores.scale * _own_factor(wiring.nodes[scores.product]) * _own_factor(node)
    moved: list[tuple[str, str]] = []
    biased: list[ScaledBias] = []
    query, left = unscaled(wiring, query, moved, biased, members)
    key, right = unscaled(wiring, key, moved, biased, members)
    scale *= left * right
    draft = Draft(Op.ATTENTION, place, [query, key, value], exits, tuple(dict.fromkeys(members)))
    inside = {name for member in draft.nodes for name in wiring.nodes[member].outputs}
    for guard in guards:
        condition = wiring.nodes[guard].inputs[0]
        if wiring.nodes[guard].op == "Where" and condition not in inside and not wiring.is_stored(condition):
            scores.masks.append(condition)
    attributes: dict[str, Attribute] = {"scale": scale}
    head = _head_size(wiring, scores.product)
    if head is not None:
        attributes["head_dim"] = head
    if scores.softcap is not None:
        attributes["softcap"] = scores.softcap
    add_masks(wiring, draft, scores.masks, scores.fills, attributes)
    dropped = next((wiring.nodes[member] for member in guards if wiring.nodes[member].op == "Dropout"), None)
    if dropped is not None:
        ratio = (
            wiring.scalar(dropped.inputs[1])
            if len(dropped.inputs) > 1 and dropped.inputs[1]
            else dropped.attributes.get("ratio", 0.5)
        )
        if isinstance(ratio, (int, float)):
            attributes["dropout"] = float(ratio)
    draft.attributes = attributes
    made = {name for member in draft.nodes for name in wiring.nodes[member].outputs}
    if any(name in made for name in draft.inputs) or (len(exits) > 1 and not _place_early(wiring, draft)):
        return None
    for old, new in moved:
        rewire(wiring, old, new)
    for bias in biased:
        scale_after_bias(wiring, bias)
    return draft


def _measured(wiring: Wiring, members: list[int], output: str) -> list[str]:
    """Inner values whose size the graph reads: they stay outputs of the layer."""
    inside = set(members)
    found: list[str] = []
    for member in members:
        for name in wiring.nodes[member].outputs:
            outside = [reader for reader in wiring.consumers.get(name, ()) if reader not in inside]
            if outside and name != output and all(wiring.nodes[reader].op == "Shape" for reader in outside):
                found.append(name)
    return found


def _place_early(wiring: Wiring, draft: Draft) -> bool:
    """Put a layer with several outputs before the first reader of any of them. False where an input is made only after that."""
    inside = set(draft.nodes)
    first = min(
        (reader for name in draft.outputs for reader in wiring.consumers.get(name, ()) if reader not in inside),
        default=draft.last + 1,
    )
    if first > draft.last:
        return True
    draft.last = first - 0.5
    return all(wiring.producer.get(name, -1) < first for name in draft.inputs)


def _backwards(wiring: Wiring, name: str, scores: _Scores) -> bool:
    """Follow the scores back to a product of two activations; fills `scores` on success."""
    place = wiring.producer.get(name)
    scores.visited += 1
    if place is None or scores.visited > _STEPS or wiring.taken[place]:
        return False
    node = wiring.nodes[place]
    op = node.op
    if op in _PRODUCTS:
        if len(node.inputs) != 2 or any(wiring.is_stored(source) for source in node.inputs):
            return False
        scores.product = place
        return True
    if op in _KEEPS_SCORES:
        if not _backwards(wiring, node.inputs[0], scores):
            return False
        scores.members.append(place)
        return True
    if op in ("Mul", "Div"):
        return _scaled(wiring, place, node, scores)
    if op in ("Add", "Sub"):
        for position, source in enumerate(node.inputs):
            if wiring.is_stored(source) or (op == "Sub" and position == 1):
                continue
            if _backwards(wiring, source, scores):
                scores.members.append(place)
                scores.masks.append(node.inputs[1 - position])
                return True
        return False
    if op == "Where":
        for position in (1, 2):
            if not wiring.is_stored(node.inputs[position]) and _backwards(wiring, node.inputs[position], scores):
                scores.members.append(place)
                scores.masks.append(node.inputs[0])
                fill = wiring.scalar(node.inputs[3 - position])
                if fill is not None:
                    scores.fills.append(fill)
                else:
                    scores.masks.append(node.inputs[3 - position])
                return True
        return False
    if op == "Tanh" and _backwards(wiring, node.inputs[0], scores):
        # Capped scores, c·tanh(s/c): the factor before and the one after cancel (Gemma 2, arXiv:2408.00118).
        scores.members.append(place)
        scores.softcap = 1.0 / scores.scale if scores.scale else None
        return True
    return False


def _scaled(wiring: Wiring, place: int, node: RawNode, scores: _Scores) -> bool:
    split = wiring.split_scalar(node)
    if split is None:
        # A mask of zeros and ones, or a factor that is computed from an activation.
        for position, source in enumerate(node.inputs):
            if wiring.is_stored(source) or (node.op == "Div" and position == 1):
                continue
            if _backwards(wiring, source, scores):
                scores.members.append(place)
                scores.masks.append(node.inputs[1 - position])
                return True
        return False
    source, factor = split
    if node.op == "Div" and node.inputs[0] != source:
        return False
    if not _backwards(wiring, source, scores):
        return False
    if scores.softcap is not None:
        scores.softcap = factor if node.op == "Mul" else 1.0 / factor
    scores.scale *= factor if node.op == "Mul" else (1.0 / factor if factor else math.inf)
    scores.members.append(place)
    return True


def _forwards(wiring: Wiring, name: str) -> tuple[int, str, list[int], list[str]] | None:
    """From the softmax's output over dropout, casts and guards against empty rows to the product with the values: that node, the
    values, the nodes between, and the values that others read too (attention weights that the model returns)."""
    guards: list[int] = []
    exposed: list[str] = []
    for _ in range(8):
        readers = wiring.consumers.get(name, [])
        product: int | None = None
        following: int | None = None
        checks: list[int] = []
        others = 0
        for reader in dict.fromkeys(readers):
            node = wiring.nodes[reader]
            if wiring.taken[reader]:
                others += 1
            elif node.op in _PRODUCTS and product is None and _is_values_product(wiring, node, name):
                product = reader
            elif node.op == "IsNaN":
                checks.append(reader)
            elif (node.op in _FORWARD and following is None and node.op not in ("Reshape", "Mul")) or (
                node.op in ("Reshape", "Mul") and following is None and product is None and len(readers) == 1
            ):
                following = reader
            else:
                others += 1
        if others or name in wiring.outputs:
            exposed.append(name)
        if product is not None:
            if following is not None and name not in exposed:
                exposed.append(name)
            inputs = wiring.nodes[product].inputs
            return product, inputs[1] if inputs[0] == name else inputs[0], guards, exposed
        if following is None:
            return None
        node = wiring.nodes[following]
        if node.op == "Where" and not _is_guard(wiring, node, name):
            return None
        if node.op == "Mul" and wiring.split_scalar(node) is None and not _is_head_mask(wiring, node, name):
            return None
        guards += [*checks, following]
        name = node.outputs[0]
    return None


def _is_guard(wiring: Wiring, node: RawNode, name: str) -> bool:
    """Where that puts zeros into rows that are masked altogether."""
    other = node.inputs[2] if node.inputs[1] == name else node.inputs[1]
    return name in node.inputs[1:] and wiring.scalar(other) == 0


def _is_head_mask(wiring: Wiring, node: RawNode, name: str) -> bool:
    other = node.inputs[1] if node.inputs[0] == name else node.inputs[0]
    return wiring.is_stored(other) or other in wiring.raw.inputs


def _is_values_product(wiring: Wiring, node: RawNode, name: str) -> bool:
    if len(node.inputs) != 2:
        return False
    other = node.inputs[1] if node.inputs[0] == name else node.inputs[0]
    return (
        other != name
        and not wiring.is_stored(other)
        and (node.op == "Einsum" or node.inputs[0] == name or _is_flipped(wiring, node))
    )


def _is_flipped(wiring: Wiring, node: RawNode) -> bool:
    """values · weightsᵀ, as convolutional attention writes it."""
    return node.op in ("MatMul", "FusedMatMul") and wiring.rank(node.inputs[0]) is not None


def _own_factor(node: RawNode) -> float:
    alpha = node.attributes.get("alpha", 1.0) if node.op in ("FusedMatMul", "Gemm") else 1.0
    return float(alpha) if isinstance(alpha, (int, float)) else 1.0


def _head_size(wiring: Wiring, product: int) -> int | None:
    """Size of the axis that queries and keys are summed over."""
    node = wiring.nodes[product]
    query, key = node.inputs[0], node.inputs[1]
    if node.op == "Einsum":
        terms, _, result = word(node, "equation").replace(" ", "").partition("->")
        left, _, right = terms.partition(",")
        summed = [letter for letter in left if letter in right and letter not in result]
        if len(summed) != 1 or "." in terms:
            return None
        return wiring.dimension(query, left.index(summed[0])) or wiring.dimension(key, right.index(summed[0]))
    flip_left, flip_right = number(node, "transA", 0), number(node, "transB", 0)
    return wiring.dimension(query, -2 if flip_left else -1) or wiring.dimension(key, -1 if flip_right else -2)
