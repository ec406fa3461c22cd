"""Weighted layers that follow each other through linear layers alone. May import `ir`, `measure.facts` and sibling modules.

Two linear layers in a row compute what one could, unless the design means it: the known designs are named. Batch normalization is affine
(at inference exactly so, and exporters fold it into the layer before), so that it makes no difference whether it is there. Max-pooling is
not linear, but alone between two convolutions it bends little: such a pair is told apart.
"""

from __future__ import annotations

from collections.abc import Mapping

from trainaudit.ir.graph import Layer
from trainaudit.ir.ops import DROPOUTS, SHAPING, WEIGHTED, Op
from trainaudit.measure.facts import Columns, FactValue
from trainaudit.measure.static.index import INPUT, Index
from trainaudit.measure.static.layer_facts import layer_width, main_parameter

_CHAINED = frozenset({Op.LINEAR, Op.CONV, Op.CONV_TRANSPOSE})
_SOURCES = _CHAINED | {Op.EMBEDDING}
_LINEAR = (
    SHAPING
    | DROPOUTS
    | {
        Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.NEG, Op.MEAN, Op.AVERAGE_POOL, Op.GLOBAL_AVERAGE_POOL, Op.REDUCE_MEAN,
        Op.REDUCE_SUM, Op.BATCH_NORM, Op.CONCAT, Op.RESIZE, Op.UNFOLD, Op.GATHER, Op.CUMSUM, Op.GRID_SAMPLE,
    }
)  # fmt: skip
"""Linear (or affine) in their first input, once their other inputs are fixed."""

_NORMALIZED = 1
_RESIDUAL = 2
_MIXED = 4
_PARALLEL = 8
_SPREAD = 16
_POOLED = 32
_NO_LAYER = -1


def measure_linear_chains(index: Index, roles: Mapping[str, str]) -> Columns:
    """layer.linear_predecessor and layer.linear_idiom of dense and convolutional layers."""
    source, marks = _trace(index)
    forks = {join.fork for join in index.joins.values()}
    outputs = index.output_layers()
    predecessor: dict[str, FactValue] = {}
    idiom: dict[str, FactValue] = {}
    for i in index.of(_CHAINED):
        name = index.layers[i].name
        row = index.sources[i]
        first = source[row[0]] if row and row[0] >= 0 else _NO_LAYER
        if first == _NO_LAYER or (marks[row[0]] & _POOLED and not index.ops[first] is index.ops[i] is Op.CONV):
            predecessor[name] = idiom[name] = "none"
        else:
            predecessor[name] = index.layers[first].name
            idiom[name] = _idiom(index, source, marks[row[0]], roles, forks, outputs, first, i)
    return {"layer.linear_predecessor": predecessor, "layer.linear_idiom": idiom}


def _trace(index: Index) -> tuple[list[int], list[int]]:
    """For each layer: the last weighted layer that its result is linear in (−1 where something non-linear, or nothing with weights, stands
    between), and marks of what was crossed."""
    ops, sources, joins = index.ops, index.sources, index.joins
    count = len(ops)
    source = [_NO_LAYER] * (count + 1)
    marks = [0] * (count + 1)
    for i in index.of(_SOURCES | _LINEAR | {Op.MAX_POOL}):
        op = ops[i]
        if op in _SOURCES:
            source[i] = i
        else:
            row = sources[i]
            if len(row) == 1:
                above = row[0]
                if above >= 0 and source[above] != _NO_LAYER:
                    if op is Op.DIV and index.layers[i].attributes.get("scalar_side") == "left":
                        continue
                    source[i] = source[above]
                    marks[i] = marks[above] | _crossed(index, index.layers[i], op)
            elif i in joins:
                join = joins[i]
                for above in (join.branch, join.skip):
                    if above >= 0 and source[above] != _NO_LAYER:
                        source[i] = source[above]
                        marks[i] = marks[above] | _RESIDUAL
                        break
            else:
                source[i], marks[i] = _merged(index, source, marks, i, op)
    return source, marks


def _merged(index: Index, source: list[int], marks: list[int], position: int, op: Op) -> tuple[int, int]:
    row = index.sources[position]
    active = index.activations(position)
    if not active:
        return _NO_LAYER, 0
    if len(active) == 1:
        above = active[0]
        if above < 0 or (op in (Op.DIV, Op.GATHER, Op.GRID_SAMPLE) and above != row[0]):
            return _NO_LAYER, 0
        return source[above], marks[above] | _crossed(index, index.layers[position], op)
    if op in (Op.MUL, Op.DIV, Op.BATCH_NORM, Op.GRID_SAMPLE):
        return _NO_LAYER, 0
    if op in SHAPING or op is Op.GATHER or op is Op.RESIZE or op in DROPOUTS:
        above = row[0]
        return (source[above], marks[above]) if above >= 0 else (_NO_LAYER, 0)
    found, crossed = _NO_LAYER, _PARALLEL
    for above in active:
        if above == INPUT:
            continue
        if source[above] == _NO_LAYER:
            return _NO_LAYER, 0
        if found == _NO_LAYER:
            found = source[above]
        crossed |= marks[above]
    return found, crossed


def _crossed(index: Index, layer: Layer, op: Op) -> int:
    if op is Op.BATCH_NORM:
        return _NORMALIZED
    if op is Op.MAX_POOL:
        return _POOLED
    if op is Op.TRANSPOSE:
        perm = layer.attributes.get("perm")
        return _MIXED if isinstance(perm, tuple) and perm and perm[-1] != len(perm) - 1 else 0
    if op in (Op.DEPTH_TO_SPACE, Op.SPACE_TO_DEPTH, Op.CUMSUM, Op.GRID_SAMPLE):
        return _MIXED
    if op is Op.RESHAPE:
        shape = index.shape(layer.outputs[0])
        return _SPREAD if shape is not None and len(shape) >= 3 else 0
    return 0


def _idiom(
    index: Index,
    source: list[int],
    crossed: int,
    roles: Mapping[str, str],
    forks: set[int],
    outputs: frozenset[int],
    first: int,
    second: int,
) -> str:
    before, after = index.layers[first], index.layers[second]
    role_before, role_after = roles.get(before.name, ""), roles.get(after.name, "")
    if before.op is Op.EMBEDDING:
        return "embedding"
    if role_after.startswith("attention-") or role_before.startswith("attention-"):
        return "attention"
    if crossed & _RESIDUAL or role_after == "downsample" or _feeds_fork(index, first, second, forks):
        return "residual"
    if _is_depthwise(index, before) or _is_depthwise(index, after) or _is_spatially_separable(before, after):
        return "depthwise-separable"
    if crossed & _PARALLEL:
        return "parallel-branches"
    both_dense = before.op is Op.LINEAR and after.op is Op.LINEAR
    if crossed & _MIXED and (both_dense or (before.op is not Op.LINEAR and after.op is not Op.LINEAR)):
        return "position-mixing"
    if _is_narrowing(index, before, after):
        return "low-rank" if before.op is Op.LINEAR and after.op is Op.LINEAR else "bottleneck-projection"
    if _is_reduction(index, before, after):
        return "bottleneck-projection"
    if _is_patchwise(before) or _is_patchwise(after):
        return "patch-embedding"
    if role_after in ("gate", "modulation", "recurrent-cell") or role_before in ("gate", "modulation"):
        return "gated"
    if _is_exposed(index, outputs, first, second):
        return "normalized" if crossed & _NORMALIZED else "latent"
    if crossed & _SPREAD and before.op is Op.LINEAR and after.op in (Op.CONV, Op.CONV_TRANSPOSE):
        return "latent"
    if _use_count(index, before) != _use_count(index, after) or _is_shared(index, source, roles, first, second):
        return "parallel-branches"
    return "max-pooled" if crossed & _POOLED else "none"


def _is_exposed(index: Index, outputs: frozenset[int], first: int, second: int) -> bool:
    """Whether the result between the two layers, normalized or not, is an output of the model too: an embedding, with a classifier behind it
    in training (Luo 2019)."""
    current = index.sources[second][0]
    steps = 0
    while current >= 0 and steps < 64:
        if current in outputs:
            return True
        if current == first:
            return False
        current = index.fork[current]
        steps += 1
    return False


def _feeds_fork(index: Index, first: int, second: int, forks: set[int]) -> bool:
    """Whether a residual stream forks between the two layers: the second opens a branch, the first writes the stream."""
    current = index.sources[second][0]
    steps = 0
    while current >= 0 and steps < 64:
        if current in forks:
            return True
        if current == first:
            return False
        current = index.fork[current]
        steps += 1
    return False


def _use_count(index: Index, layer: Layer) -> int:
    """How often a layer's weight is used. A head that several levels of a pyramid share cannot be merged with what stands before it on one."""
    weight = main_parameter(index.graph, layer)
    return 1 if weight is None else len(weight.owners)


def _is_shared(index: Index, source: list[int], roles: Mapping[str, str], first: int, second: int) -> bool:
    """Whether the result between the two layers is also used otherwise: by something non-linear, or by other weighted layers that are not
    mere heads."""
    current = index.sources[second][0]
    steps = 0
    while current >= 0 and steps < 64:
        users = index.uses[current]
        for user in users:
            if index.ops[user] not in WEIGHTED:
                if source[user] == _NO_LAYER or (len(users) > 1 and index.ops[user] is Op.RESIZE):
                    return True
            elif len(users) > 1 and roles.get(index.layers[user].name) != "output-head":
                return True
        if current == first:
            return False
        current = index.fork[current]
        steps += 1
    return False


def _channels(index: Index, layer: Layer) -> tuple[int | None, int | None]:
    """Input and output features or channels of a dense or convolutional layer."""
    weight = main_parameter(index.graph, layer)
    out = layer_width(index.graph, layer)
    if weight is None:
        return None, out
    if layer.op is Op.LINEAR:
        return weight.fan_in, out
    groups = weight.groups
    if layer.op is Op.CONV:
        return (weight.shape[1] * groups if len(weight.shape) > 1 else None), out
    return (weight.shape[0] if weight.shape else None), out


def _is_narrowing(index: Index, before: Layer, after: Layer) -> bool:
    """The layer between has fewer features than either end: a factorised map, a latent code, a linear bottleneck."""
    begin, middle = _channels(index, before)
    received, end = _channels(index, after)
    if before.op is Op.LINEAR and after.op is Op.LINEAR and received is not None and middle is not None:
        middle = min(middle, received)
    return begin is not None and middle is not None and end is not None and middle < begin and middle < end


def _is_reduction(index: Index, before: Layer, after: Layer) -> bool:
    """A 1×1 convolution that takes channels out before a larger kernel, which is cheaper for it."""
    first, second = before.attributes.get("kernel_size"), after.attributes.get("kernel_size")
    if before.op is not Op.CONV or not isinstance(first, tuple) or not isinstance(second, tuple):
        return False
    begin, middle = _channels(index, before)
    pointwise = all(k == 1 for k in first) and any(k != 1 for k in second)
    return pointwise and begin is not None and middle is not None and middle < begin


def _is_depthwise(index: Index, layer: Layer) -> bool:
    weight = main_parameter(index.graph, layer)
    if layer.op is Op.LINEAR or weight is None or weight.groups < 2:
        return False
    begin, _ = _channels(index, layer)
    return weight.groups == begin


def _is_spatially_separable(before: Layer, after: Layer) -> bool:
    """A 1×k kernel next to a k×1 kernel."""
    first, second = before.attributes.get("kernel_size"), after.attributes.get("kernel_size")
    if not isinstance(first, tuple) or not isinstance(second, tuple) or len(first) != len(second) or len(first) < 2:
        return False
    crossed = all(1 in pair for pair in zip(first, second, strict=True))
    return crossed and any(k != 1 for k in first) and any(k != 1 for k in second)


def _is_patchwise(layer: Layer) -> bool:
    """A kernel as large as its stride, larger than one: it cuts into patches, or lays patches side by side."""
    kernel, stride = layer.attributes.get("kernel_size"), layer.attributes.get("stride")
    return isinstance(kernel, tuple) and kernel == stride and any(k != 1 for k in kernel)
