"""How widths and kernels go on from layer to layer. May import `ir`, `measure.facts` and sibling modules.

Two layers follow each other plainly where nothing but activation functions, normalizations, dropout, pooling and reshapes stand between: what is
said here concerns plain stacks, not the branches of blocks.
"""

from __future__ import annotations

from trainaudit.ir.ops import ACTIVATIONS, DROPOUTS, NORMALIZATIONS, SHAPING, Op
from trainaudit.measure.facts import Columns, FactValue
from trainaudit.measure.static.index import INPUT, Index
from trainaudit.measure.static.layer_facts import layer_width
from trainaudit.measure.static.maps import largest

_UNITS = frozenset({Op.LINEAR, Op.CONV})
_POOLS = frozenset({Op.MAX_POOL, Op.AVERAGE_POOL})
_PLAIN = ACTIVATIONS | NORMALIZATIONS | DROPOUTS | SHAPING | _POOLS
_FARTHEST = 32
"""Layers between two layers with weights that are looked at."""


def measure_progressions(index: Index, linear: Columns) -> Columns:
    """layer.previous_width, previous_kernel_size, is_coarsened, growth_run and trunk_width_ratio. `linear` holds layer.linear_predecessor."""
    layers = index.layers
    widths: dict[str, FactValue] = {}
    kernels: dict[str, FactValue] = {}
    coarsened: dict[str, FactValue] = {}
    runs: dict[str, FactValue] = {}
    run_of: dict[int, int] = {}
    for i in index.of(_UNITS):
        before, is_pooled = _previous(index, i)
        width = layer_width(index.graph, layers[i])
        before_width = None if before == INPUT else layer_width(index.graph, layers[before])
        if before == INPUT or width is None or before_width is None:
            continue
        name = layers[i].name
        widths[name] = before_width
        if index.ops[i] is Op.CONV:
            kernel = largest(layers[before].attributes.get("kernel_size"))
            stride = largest(layers[before].attributes.get("stride")) or 1
            if kernel is not None and stride == 1:  # a stem's large window belongs to its stride
                kernels[name] = kernel
            coarsened[name] = is_pooled or (largest(layers[i].attributes.get("stride")) or 1) > 1
        else:
            run_of[i] = run_of.get(before, 0) + 1 if width > before_width else 0
            runs[name] = run_of[i]
    return {
        "layer.previous_width": widths,
        "layer.previous_kernel_size": kernels,
        "layer.is_coarsened": coarsened,
        "layer.growth_run": runs,
        "layer.trunk_width_ratio": _trunk_width_ratios(index, linear),
    }


def _previous(index: Index, position: int) -> tuple[int, bool]:
    """The layer of the same kind that plainly stands before one, INPUT for none, and whether a pooling stands between."""
    kind = index.ops[position]
    is_pooled = False
    current = position
    for _ in range(_FARTHEST):
        row = index.sources[current]
        if len(row) != 1 or row[0] < 0 or len(index.uses[row[0]]) != 1:
            return INPUT, False
        current = row[0]
        op = index.ops[current]
        if op is kind:
            return current, is_pooled
        if op not in _PLAIN:
            return INPUT, False
        is_pooled = is_pooled or op in _POOLS
    return INPUT, False


def _trunk_width_ratios(index: Index, linear: Columns) -> dict[str, FactValue]:
    """Width over the widest that the stream was before, for the layers that every path to the first output crosses. The first half of a low-rank
    factorization is left out."""
    first = next((value for name in index.graph.outputs if (value := index.graph.values.get(name)) is not None), None)
    trunk: list[int] = []
    current = INPUT if first is None or first.producer is None else first.producer
    while current != INPUT:
        trunk.append(current)
        current = index.fork[current]
    factors = set(linear.get("layer.linear_predecessor", {}).values())
    widest = 0
    ratios: dict[str, FactValue] = {}
    for i in reversed(trunk):
        layer = index.layers[i]
        if index.ops[i] not in _UNITS:
            widest = max(widest, _joined_width(index, i))
            continue
        width = layer_width(index.graph, layer)
        if width is None:
            continue
        if widest and layer.name not in factors:
            ratios[layer.name] = width / widest
        widest = max(widest, width)
    return ratios


def _joined_width(index: Index, position: int) -> int:
    """Units of what a residual sum or a concatenation gives; 0 for other layers."""
    if position in index.joins:
        current = index.joins[position].branch
        for _ in range(_FARTHEST):
            if current < 0:
                break
            if index.ops[current] in _UNITS:
                return layer_width(index.graph, index.layers[current]) or 0
            row = index.sources[current]
            current = row[0] if row else INPUT
    elif index.ops[position] is Op.CONCAT:
        layer = index.layers[position]
        shape, axis = index.shape(layer.outputs[0]), layer.attributes.get("dim")
        size = shape[axis] if shape is not None and isinstance(axis, int) and -len(shape) <= axis < len(shape) else None
        return size if isinstance(size, int) and axis == 1 else 0
    return 0
