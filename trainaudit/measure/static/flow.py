"""One backward pass over a graph: what each layer's result is used for. May import `ir` and `measure.static.index` only.

`flow[i]` is a set of bits, the union over all paths from layer i to the outputs. A bit says what the paths meet first.
"""

from __future__ import annotations

from collections.abc import Sequence

from trainaudit.ir.graph import Graph, Layer
from trainaudit.ir.ops import ACTIVATIONS, NORMALIZATIONS, SHAPING, STEPS, WEIGHTED, Op
from trainaudit.measure.static.index import INPUT, Index

REACHES = 1 << 0
"""An output depends on the layer, if only on its shape."""
VALUE = 1 << 1
"""An output depends on the layer's values."""
GRADIENT = 1 << 2
"""A gradient comes back to the layer from an output."""
FLOAT = 1 << 3
"""A floating-point output depends on the layer's values."""
WEIGHT_FOLLOWS = 1 << 4
"""A layer with weights, or a product of activations, stands between the layer and an output."""

TO_OUTPUT = 1 << 5
"""Reaches an output before any weighted layer."""
TO_LOSS = 1 << 6
TO_MIXING = 1 << 7
"""Is an operand of a matrix product of activations."""
TO_GATE = 1 << 8
"""Multiplies another activation."""
TO_ROUTING = 1 << 9
"""Selects: its order or indices choose what is used."""
TO_WEIGHTED = 1 << 10

QUERY = 1 << 11
KEY = 1 << 12
VALUES = 1 << 13
SCORES = 1 << 14
"""Is what an attention's softmax is computed from, or the softmax itself."""

BRANCH_END = 1 << 15
"""Is added to a skip path with no weighted layer between."""
PROJECTED_SKIP = 1 << 16
"""Is the skip path of a residual sum."""
MERGED = 1 << 17
"""Is added to some other activation with no weighted layer between."""
MULTIPLIER = 1 << 18
"""Is multiplied with another activation, no activation function between."""
GATE = 1 << 19
"""Is multiplied with another activation after an activation function of its own."""
MODULATES = 1 << 20
"""Scales or shifts the result of a normalization."""

_USE = TO_OUTPUT | TO_LOSS | TO_MIXING | TO_GATE | TO_ROUTING | TO_WEIGHTED
_ATTENTION = QUERY | KEY | VALUES
_REACH = REACHES | VALUE | FLOAT | WEIGHT_FOLLOWS
_SUM = BRANCH_END | PROJECTED_SKIP | MERGED

_PRODUCTS = frozenset({Op.MATMUL, Op.EINSUM, Op.ATTENTION})
_SHARP = frozenset({Op.SIGMOID, Op.HARD_SIGMOID, Op.SOFTMAX, Op.HARDMAX})
_SELECTED = {Op.GATHER: 1, Op.SCATTER: 1, Op.EMBEDDING: 0, Op.WHERE: 0}
"""Operations that take an index or a condition, and its slot: no gradient goes there."""
_DATA_FIRST = SHAPING | {
    Op.RESIZE,
    Op.CUMSUM,
    Op.TOP_K,
    Op.CLIP,
    Op.REDUCE_MEAN,
    Op.REDUCE_SUM,
    Op.REDUCE_MAX,
    Op.DROPOUT,
    Op.ALPHA_DROPOUT,
}
"""Operations whose later inputs are sizes, axes or limits."""


def _keep(op: Op) -> int:
    """Bits of the result's uses that hold for the operand too."""
    if op is Op.SHAPE:
        return REACHES
    kept = _REACH | GRADIENT
    if op in STEPS and op is not Op.DETACH:
        return (kept & ~GRADIENT) | TO_OUTPUT | TO_LOSS | TO_GATE | TO_MIXING
    if op in WEIGHTED or op in _PRODUCTS:
        return kept
    kept |= _USE
    if op in ACTIVATIONS:
        return kept | _SUM | (SCORES if op is Op.SOFTMAX else 0) | GATE
    if op in NORMALIZATIONS:
        return kept | _SUM | _ATTENTION | GATE
    if op in (Op.MAX_POOL, Op.GLOBAL_MAX_POOL, Op.REDUCE_MAX, Op.REDUCE_MEAN, Op.GLOBAL_AVERAGE_POOL, Op.AVERAGE_POOL):
        return kept | _SUM | GATE
    if op is Op.LOSS:
        return kept & ~_USE
    kept |= _ATTENTION | SCORES | _SUM | MULTIPLIER | GATE | MODULATES
    return kept & ~GRADIENT if op is Op.DETACH else kept


def _add(op: Op) -> int:
    """Bits that the operand gains from the operation itself."""
    if op in WEIGHTED:
        return TO_WEIGHTED | WEIGHT_FOLLOWS
    if op in _PRODUCTS:
        return TO_MIXING | WEIGHT_FOLLOWS
    if op in NORMALIZATIONS:
        return WEIGHT_FOLLOWS
    if op is Op.LOSS:
        return TO_LOSS
    return 0


_MANY = frozenset({Op.ATTENTION, Op.MATMUL, Op.EINSUM, Op.TOP_K, Op.CAST}) | _SELECTED.keys()
_PLAIN_SINGLE = frozenset(Op) - _MANY - ACTIVATIONS - STEPS | {Op.SHAPE}
_PUSHED = {op: (_keep(op), _add(op), op in _PLAIN_SINGLE) for op in Op}


def is_float(dtype: str | None) -> bool:
    """Floating point, or not known."""
    return dtype is None or dtype.startswith(("float", "bfloat", "double", "complex"))


def cast_type(layer: Layer) -> str | None:
    """The type that a cast makes, None where the file does not tell."""
    to = layer.attributes.get("to")
    return to if isinstance(to, str) else None


def _is_postprocessing(op: Op, bits: int) -> bool:
    """A step that turns the result into labels or flags, and that nothing trains behind: training reads what stands before it."""
    return not bits & WEIGHT_FOLLOWS and (op is Op.ARGMAX or not bits & FLOAT)


def trace_uses(index: Index) -> list[int]:
    """The bits of every layer. Linear in the edges."""
    graph, ops, sources, uses = index.graph, index.ops, index.sources, index.uses
    flow = [0] * (len(ops) + 2)  # two more: INPUT and STORED collect what is pushed to inputs and parameters
    _seed(graph, flow)
    modulated = _modulated(index)
    merging, origin = index.merging, index.origin
    for i in range(len(ops) - 1, -1, -1):
        mine = flow[i]
        if not mine:
            continue
        op = ops[i]
        row = sources[i]
        kept, added, is_plain = _PUSHED[op]
        pushed = (mine & kept) | added
        if is_plain and len(row) == 1:
            flow[row[0]] |= pushed
        elif op in ACTIVATIONS:
            if mine & MULTIPLIER and len(uses[i]) == 1:
                pushed |= GATE
            for source in row:
                flow[source] |= pushed
        elif i in merging:
            _push_merged(index, flow, i, pushed, modulated)
        elif op in STEPS:
            if _is_postprocessing(op, mine):
                pushed |= GRADIENT
            for source in row:
                flow[source] |= pushed
        elif op in _DATA_FIRST:
            if op is Op.TOP_K and mine & (TO_GATE | TO_MIXING | TO_WEIGHTED):
                pushed |= TO_ROUTING
            if op is Op.CAST and not is_float(cast_type(index.layers[i])) and not _is_postprocessing(op, mine):
                pushed &= ~GRADIENT
            for slot, source in enumerate(row):
                flow[source] |= pushed if slot == 0 else mine & _REACH
        elif op is Op.ATTENTION:
            for slot, source in enumerate(row):
                flow[source] |= pushed | (QUERY << slot) if slot < 3 else mine & (_REACH | GRADIENT)
        elif op is Op.MATMUL or op is Op.EINSUM:
            _push_product(flow, row, mine, pushed, ops, origin)
        elif op in _SELECTED:
            chosen = _SELECTED[op]
            for slot, source in enumerate(row):
                if slot == chosen:
                    flow[source] |= (pushed & ~GRADIENT) | TO_ROUTING
                else:
                    flow[source] |= pushed
        else:
            for source in row:
                flow[source] |= pushed
    return flow


def _seed(graph: Graph, flow: list[int]) -> None:
    for name in graph.outputs:
        value = graph.values.get(name)
        if value is not None and value.producer is not None:
            flow[value.producer] |= REACHES | VALUE | GRADIENT | TO_OUTPUT | (FLOAT if is_float(value.dtype) else 0)


def _modulated(index: Index) -> dict[int, int]:
    """Products and sums that scale or shift a normalization's result → the source that holds that result."""
    found: dict[int, int] = {}
    ops, origin, merging = index.ops, index.origin, index.merging
    if NORMALIZATIONS.isdisjoint(index.places):
        return found
    for i in index.of((Op.MUL, Op.ADD)):
        op = ops[i]
        if i not in merging or (op is Op.ADD and not found):
            continue
        active = index.activations(i)
        if len(active) != 2:
            continue
        normal = []
        for source in active:
            above = origin[source]
            if above >= 0 and ((op is Op.MUL and ops[above] in NORMALIZATIONS) or (op is Op.ADD and above in found)):
                normal.append(source)
        if len(normal) == 1:
            found[i] = normal[0]
    return found


def _push_merged(index: Index, flow: list[int], i: int, pushed: int, modulated: dict[int, int]) -> None:
    op, row = index.ops[i], index.sources[i]
    if op is Op.WHERE:
        for slot, source in enumerate(row):
            flow[source] |= ((pushed & ~GRADIENT) | TO_ROUTING) if slot == 0 else pushed
        return
    if op is Op.MUL:
        active = index.activations(i)
        if len(set(active)) < 2:  # a square
            for source in row:
                flow[source] |= pushed
            return
        pushed |= TO_GATE | WEIGHT_FOLLOWS
        unweighted = [s for s in active if index.depth[s] == 0]
        sharp = [s for s in active if s >= 0 and index.origin[s] >= 0 and index.ops[index.origin[s]] in _SHARP]
        single = sharp[0] if len(sharp) == 1 else None
        for source in row:
            bits = pushed
            # a product with something that no weight has touched is a mask
            if source == single or (single is None and all(s == source for s in unweighted)):
                bits |= MULTIPLIER
            if i in modulated and source != modulated[i]:
                bits |= MODULATES
            flow[source] |= bits
        return
    if op is Op.ADD or op is Op.SUB:
        join = index.joins.get(i)
        for source in row:
            bits = pushed | MERGED
            if join is not None:
                bits &= ~(GATE | MULTIPLIER | MODULATES)
                if source == join.branch:
                    bits |= BRANCH_END
                else:
                    bits &= ~_SUM
                    if join.projected:
                        bits |= PROJECTED_SKIP
            elif i in modulated and source != modulated[i]:
                bits |= MODULATES
            flow[source] |= bits
        return
    for source in row:
        flow[source] |= pushed


def _push_product(
    flow: list[int], row: Sequence[int], mine: int, pushed: int, ops: list[Op], origin: list[int]
) -> None:
    """A matrix product of activations: that of a softmax with values, that of queries with keys before it, or some other."""
    above = origin[row[0]] if row and row[0] >= 0 else INPUT
    if len(row) == 2 and above >= 0 and ops[above] is Op.SOFTMAX:
        flow[row[0]] |= pushed | SCORES
        flow[row[1]] |= pushed | VALUES
    elif len(row) == 2 and mine & SCORES:
        flow[row[0]] |= pushed | QUERY
        flow[row[1]] |= pushed | KEY
    else:
        for source in row:
            flow[source] |= pushed
