"""What the model's inputs reach and what its outputs are. May import `ir`, `measure.facts` and sibling modules."""

from __future__ import annotations

from collections.abc import Mapping

from trainaudit.ir.graph import Graph, Shape
from trainaudit.ir.ops import ACTIVATIONS, DROPOUTS, NORMALIZATIONS, SHAPING, WEIGHTED, Op
from trainaudit.measure.facts import Columns, FactValue, Unmeasured
from trainaudit.measure.static.flow import VALUE, is_float
from trainaudit.measure.static.index import INPUT, Index
from trainaudit.measure.static.layer_facts import OP_WORDS, layer_width, main_parameter

_SELECTIONS = SHAPING | DROPOUTS | {Op.GATHER}
_POOLS = frozenset(
    {Op.MAX_POOL, Op.AVERAGE_POOL, Op.GLOBAL_MAX_POOL, Op.GLOBAL_AVERAGE_POOL, Op.REDUCE_MEAN, Op.REDUCE_MAX}
)
_FARTHEST = 64
"""Layers that are looked back through from an output."""
_SOFTMAXES = frozenset({Op.SOFTMAX, Op.LOG_SOFTMAX, Op.HARDMAX})
_SCALINGS = frozenset({Op.SUB, Op.ADD, Op.MUL, Op.DIV})
_PROBABILITIES = frozenset({Op.SIGMOID, Op.HARD_SIGMOID, Op.SOFTMAX})
_MARGIN = 0.01
"""How far from 0 and 1 a clamp behind a probability may cut, and how large what is added to it may be, to keep a logarithm finite."""
_KEEPING_AXES = frozenset({Op.CAST, Op.IDENTITY, Op.DETACH, Op.DROPOUT, Op.QUANTIZE, Op.DEQUANTIZE})
_RECTIFYING = frozenset({Op.RELU, Op.RELU6, Op.GELU, Op.SILU, Op.HARD_SWISH, Op.LEAKY_RELU, Op.ELU, Op.MISH, Op.PRELU})


def measure_ends(index: Index, flow: list[int], roles: Mapping[str, str]) -> Columns:
    """input.* and output.* facts."""
    columns = _inputs(index, flow)
    columns.update(_outputs(index, roles))
    return columns


def _inputs(index: Index, flow: list[int]) -> Columns:
    graph = index.graph
    reaches: dict[str, FactValue] = {}
    outputs = set(graph.outputs)
    for name in graph.inputs:
        value = graph.values.get(name)
        users = () if value is None else value.consumers
        reaches[name] = name in outputs or any(
            index.ops[user] is not Op.SHAPE and flow[user] & VALUE != 0 for user in users
        )
    return {"input.name": {name: name for name in graph.inputs}, "input.reaches_output": reaches}


def _outputs(index: Index, roles: Mapping[str, str]) -> Columns:
    graph = index.graph
    depends: dict[str, FactValue] = {}
    primary: dict[str, FactValue] = {}
    final: dict[str, FactValue] = {}
    final_layer: dict[str, FactValue] = {}
    final_layers: dict[str, FactValue] = {}
    earlier: dict[str, FactValue] = {}
    units: dict[str, FactValue] = {}
    rank: dict[str, FactValue] = {}
    trunk: dict[str, FactValue] = {}
    narrowed: dict[str, FactValue] = {}
    final_op: dict[str, FactValue] = {}
    dropout_rate: dict[str, FactValue] = {}
    dropout_layer: dict[str, FactValue] = {}
    has_primary = False
    known: dict[int, int] = {}
    for name in graph.outputs:
        value = graph.values.get(name)
        producer = None if value is None else value.producer
        depends[name] = name in graph.inputs if producer is None else bool(index.depends[producer])
        is_first = (
            not has_primary
            and depends[name] is True
            and producer is not None
            and value is not None
            and is_float(value.dtype)
        )
        primary[name] = is_first
        has_primary = has_primary or is_first
        at = INPUT if producer is None else _last_computation(index, producer, known)
        activation = at if at >= 0 and index.ops[at] in ACTIVATIONS else None
        final[name] = "none" if activation is None else OP_WORDS[index.ops[activation]]
        final_layer[name] = "none" if activation is None else index.layers[activation].name
        final_layers[name] = final_layer[name]
        if activation is not None and producer is not None:
            final_layers[name] = "\n".join([index.layers[activation].name, *_guards(index, producer, activation)])
        earlier[name] = "none" if activation is None else _activation_before(index, activation, known)
        if value is None or value.shape is None:
            rank[name] = units[name] = Unmeasured("the shape of the output is not known")
        else:
            rank[name] = len(value.shape)
            units[name] = _unit_count(index, value.shape, producer, at)
        final_op[name] = "none" if at < 0 else OP_WORDS[index.ops[at]]
        dropped = INPUT if producer is None else _final_dropout(index, producer)
        if dropped >= 0:
            rate = index.layers[dropped].attributes.get("p")
            dropout_rate[name] = (
                float(rate) if isinstance(rate, (int, float)) else Unmeasured("the file does not store its rate")
            )
            dropout_layer[name] = index.layers[dropped].name
        trunk[name] = at >= 0 and _is_trunk(index, roles, at, known)
        narrowed[name] = at >= 0 and _is_narrowed(index, at, known)
    whole = next((name for name, is_first in primary.items() if is_first), None)
    told: dict[str, FactValue] = {} if whole is None else {"model": units[whole]}
    same: dict[str, FactValue] = {} if whole is None else {"model": _has_shape_of_input(graph, whole)}
    return {
        "model.output_unit_count": told,
        "model.is_output_like_input": same,
        "model.rescales_input": {"model": _rescales_input(graph)},
        "output.name": {name: name for name in graph.outputs},
        "output.depends_on_input": depends,
        "output.is_primary": primary,
        "output.final_activation": final,
        "output.final_activation_layer": final_layer,
        "output.final_activation_layers": final_layers,
        "output.earlier_activation": earlier,
        "output.unit_count": units,
        "output.rank": rank,
        "output.is_trunk_feature": trunk,
        "output.is_normalized_head": narrowed,
        "output.final_op": final_op,
        "output.final_dropout_rate": dropout_rate,
        "output.final_dropout_layer": dropout_layer,
    }


def _has_shape_of_input(graph: Graph, output: str) -> bool:
    """Batch aside; a model that gives back what it was given is an autoencoder, a denoiser or the like."""
    shape = graph.values[output].shape
    inputs = [value.shape for name in graph.inputs if (value := graph.values.get(name)) is not None]
    return (
        shape is not None and len(shape) > 1 and any(known is not None and known[1:] == shape[1:] for known in inputs)
    )


def _rescales_input(graph: Graph) -> bool:
    """Every float input (every input, where none is float: images of bytes) passes a normalization, or arithmetic with stored numbers, before anything
    else computes with it."""
    known = {name: value for name in graph.inputs if (value := graph.values.get(name)) is not None}
    floats = [name for name, value in known.items() if is_float(value.dtype)]
    return all(_is_rescaled(graph, name) for name in floats or known) and bool(known)


def _is_rescaled(graph: Graph, name: str) -> bool:
    for _ in range(_FARTHEST):
        value = graph.values[name]
        if len(value.consumers) != 1:
            return False
        layer = graph.layers[value.consumers[0]]
        if layer.op in NORMALIZATIONS:
            return True
        if layer.op in _SCALINGS:
            return len(layer.inputs) == 1
        if layer.op not in _SELECTIONS or len(layer.outputs) != 1:
            return False
        name = layer.outputs[0]
    return False


def _last_computation(index: Index, position: int, known: dict[int, int]) -> int:
    """The nearest layer at or above a layer that does more than reshape, cast and select; INPUT for none. Where pieces are joined, the
    first piece's activation function stands for all if they all end in the same one; else the joint itself."""
    path = []
    current = position
    while current >= 0 and current not in known:
        op = index.ops[current]
        row = index.sources[current]
        if (op in _SELECTIONS and row) or _is_guard(index, current):
            path.append(current)
            current = row[0] if row[0] >= INPUT else INPUT
        elif op is Op.CONCAT and row:
            pieces = [index.origin[s] if s >= 0 else INPUT for s in row]
            kinds = {index.ops[p] if p >= 0 else None for p in pieces}
            known[current] = (
                pieces[0] if len(kinds) == 1 and pieces[0] >= 0 and index.ops[pieces[0]] in ACTIVATIONS else current
            )
        else:
            known[current] = current
    found = known[current] if current >= 0 else INPUT
    for passed in path:
        known[passed] = found
    return found


def _is_guard(index: Index, position: int) -> bool:
    """A clamp or an ε behind a probability, which keeps a logarithm finite and leaves it a probability."""
    op, row = index.ops[position], index.sources[position]
    if (
        op not in (Op.CLIP, Op.ADD)
        or len(row) != 1
        or row[0] < 0
        or index.ops[index.origin[row[0]]] not in _PROBABILITIES
    ):
        return False
    attributes = index.layers[position].attributes
    if op is Op.ADD:
        added = attributes.get("scalar")
        return isinstance(added, (int, float)) and abs(added) <= _MARGIN
    low, high = attributes.get("min", 0.0), attributes.get("max", 1.0)
    return isinstance(low, (int, float)) and low <= _MARGIN and isinstance(high, (int, float)) and high >= 1.0 - _MARGIN


def _guards(index: Index, producer: int, activation: int) -> list[str]:
    """Names of the guards between an activation function and an output."""
    found, current = [], producer
    while current != activation and current >= 0:
        if _is_guard(index, current):
            found.append(index.layers[current].name)
        row = index.sources[current]
        current = row[0] if row else INPUT
    return found


def _final_dropout(index: Index, producer: int) -> int:
    """The dropout behind which an output passes only activation functions, reshapes, casts and selections; INPUT for none."""
    current = producer
    for _ in range(_FARTHEST):
        if current < 0 or index.ops[current] in DROPOUTS:
            return current
        row = index.sources[current]
        passes = index.ops[current] in _SELECTIONS or index.ops[current] in ACTIVATIONS
        current = row[0] if passes and row and row[0] >= 0 else INPUT
    return INPUT


def _activation_before(index: Index, position: int, known: dict[int, int]) -> str:
    row = index.sources[position]
    at = _last_computation(index, row[0], known) if row and row[0] >= 0 else INPUT
    return OP_WORDS[index.ops[at]] if at >= 0 and index.ops[at] in ACTIVATIONS else "none"


def _head(index: Index, position: int, known: dict[int, int]) -> int:
    """The weighted layer, sum or other computation behind the activation functions, poolings and reshapes that end at a layer."""
    current = position
    for _ in range(_FARTHEST):
        if current < 0 or (index.ops[current] not in ACTIVATIONS and index.ops[current] not in _POOLS):
            break
        row = index.sources[current]
        current = _last_computation(index, row[0], known) if row and row[0] >= 0 else INPUT
    return current


def _unit_count(index: Index, shape: Shape, producer: int | None, at: int) -> FactValue:
    """Size of the axis that counts units: the softmax's own axis, else the axis as long as the head is wide, else axis 1 of images and
    the last of everything else."""
    unknown = Unmeasured("the size of its last axis is not fixed in the file")
    if not shape:
        return Unmeasured("the output is one number")
    head = INPUT if at < 0 else _head(index, at, {})
    width = layer_width(index.graph, index.layers[head]) if head >= 0 and index.ops[head] in WEIGHTED else None
    if producer is not None and at >= 0 and index.ops[at] in _SOFTMAXES:
        size = _softmax_axis(index, at, producer, shape)
        if isinstance(size, int):
            return size
    if len(shape) == 1:
        if width is not None and width > 1:
            return width if shape[0] == width else Unmeasured("its only axis may be the batch")
        return 1 if width == 1 else Unmeasured("its only axis may be the batch")
    is_convolved = head >= 0 and index.ops[head] in (Op.CONV, Op.CONV_TRANSPOSE)
    first, last = (shape[1], shape[-1]) if is_convolved or (len(shape) > 3 and width is None) else (shape[-1], shape[1])
    if width is not None and first != width:
        if width == 1:
            return 1
        if last == width:
            first = last
    return first if isinstance(first, int) else unknown


def _softmax_axis(index: Index, at: int, producer: int, shape: Shape) -> int | None:
    current = producer
    while current != at:
        if index.ops[current] not in _KEEPING_AXES:
            return None
        current = index.sources[current][0]
    dim = index.layers[at].attributes.get("dim")
    if not isinstance(dim, int) or not -len(shape) <= dim < len(shape):
        return None
    size = shape[dim]
    return size if isinstance(size, int) else None


def _is_trunk(index: Index, roles: Mapping[str, str], position: int, known: dict[int, int]) -> bool:
    """Whether an output is the trunk's own feature: the result of a normalization, a residual sum, attention or a recurrence, or of a
    convolution that does not narrow before its rectifier."""
    at = _head(index, position, known)
    if at < 0:
        return False
    op = index.ops[at]
    layer = index.layers[at]
    if op in NORMALIZATIONS:
        row = index.sources[at]
        below = _last_computation(index, row[0], known) if row and row[0] >= 0 else INPUT
        return (
            below < 0
            or roles.get(index.layers[below].name) != "output-head"
            or op is not Op.BATCH_NORM
            or at != position
        )
    if at in index.joins or op in (Op.ATTENTION, Op.RNN, Op.LSTM, Op.GRU, Op.EMBEDDING):
        return True
    if op is Op.CONV and position != at and _rectified(index, position):
        weight = main_parameter(index.graph, layer)
        width = layer_width(index.graph, layer)
        if weight is not None and len(weight.shape) > 1 and width is not None:
            return width >= weight.shape[1] * weight.groups
    return False


def _is_narrowed(index: Index, position: int, known: dict[int, int]) -> bool:
    """Whether a layer is a normalization of what a dense layer or convolution has narrowed."""
    row = index.sources[position]
    if index.ops[position] not in NORMALIZATIONS or not row or row[0] < 0:
        return False
    below = _last_computation(index, row[0], known)
    if below < 0 or index.ops[below] not in (Op.LINEAR, Op.CONV):
        return False
    weight, width = main_parameter(index.graph, index.layers[below]), layer_width(index.graph, index.layers[below])
    inside = None if weight is None or width is None or not width else weight.size // width
    return inside is not None and width is not None and width < inside


def _rectified(index: Index, position: int) -> bool:
    return index.ops[position] in _RECTIFYING or index.ops[position] in _POOLS
