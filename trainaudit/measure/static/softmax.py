"""What softmaxes and sigmoids are for, and over which axis a softmax sums. May import `ir`, `measure.facts` and sibling modules."""

from __future__ import annotations

from trainaudit.ir.graph import Layer, Role
from trainaudit.ir.ops import SHAPING, Op
from trainaudit.measure.facts import Columns, FactValue, Unmeasured
from trainaudit.measure.static.batch_axis import BatchAxis
from trainaudit.measure.static.flow import TO_GATE, TO_LOSS, TO_MIXING, TO_OUTPUT, TO_ROUTING, TO_WEIGHTED
from trainaudit.measure.static.index import Index, sole_use
from trainaudit.measure.static.layer_facts import layer_width

_SOFTMAXES = frozenset({Op.SOFTMAX, Op.LOG_SOFTMAX, Op.HARDMAX})
_SIGMOIDS = frozenset({Op.SIGMOID, Op.HARD_SIGMOID, Op.LOG_SIGMOID})


def measure_softmax(index: Index, flow: list[int], batch: BatchAxis) -> Columns:
    """layer.softmax_use, softmax_axis_size and softmax_over_batch."""
    use: dict[str, FactValue] = {}
    size: dict[str, FactValue] = {}
    over_batch: dict[str, FactValue] = {}
    outputs = index.output_layers()
    for i in index.of(_SOFTMAXES | _SIGMOIDS):
        layer = index.layers[i]
        word = _use(index, i, flow[i], outputs)
        if word is not None:
            use[layer.name] = word
        if layer.op in _SOFTMAXES:
            axis = _axis(index, layer)
            size[layer.name] = _size(index, layer, axis)
            over_batch[layer.name] = _over_batch(layer, axis, batch)
    return {"layer.softmax_use": use, "layer.softmax_axis_size": size, "layer.softmax_over_batch": over_batch}


def _use(index: Index, position: int, bits: int, outputs: frozenset[int]) -> str | None:
    if bits & TO_MIXING:
        return "attention"
    if bits & TO_ROUTING:
        return "routing"
    if bits & TO_GATE:
        return "gate"
    if bits & TO_LOSS:
        return "loss"
    if bits & TO_OUTPUT:
        return "output"
    if bits & TO_WEIGHTED:
        if index.ops[position] in _SOFTMAXES and _is_expectation(index, position, outputs):
            return "attention"
        return "sampling" if _is_drawn(index, position) else "hidden"
    return None


_FARTHEST = 12
"""Layers between a softmax or sigmoid and the noise that makes a draw of it."""
_SCALING = SHAPING | {Op.MUL, Op.DIV, Op.NEG, Op.SUB, Op.ADD, Op.WHERE, Op.CLIP}


def _is_drawn(index: Index, position: int) -> bool:
    """A relaxed draw of a class: noise is added to the logits (Gumbel-softmax, Jang 2017; the concrete distribution, Maddison 2017), −log(−log u) of numbers
    that the graph draws or is given."""
    waiting, seen = [(source, 0) for source in index.sources[position]], set[int]()
    while waiting and len(seen) < _FARTHEST:
        current, logs = waiting.pop()
        if current < 0 or current in seen:
            continue
        seen.add(current)
        op = index.ops[current]
        logs += op is Op.LOG
        if op is Op.RANDOM or logs == 2:
            return True
        if op is Op.LOG or op in _SCALING:
            waiting += [(source, logs) for source in index.sources[current]]
    return False


def _is_expectation(index: Index, position: int, outputs: frozenset[int]) -> bool:
    """A softmax whose result is summed up by one unit without bias: the mean of a distribution over bins (soft arg-max, Li 2020)."""
    user = sole_use(index, position, outputs)
    if user is None:
        return False
    layer = index.layers[user]
    return (
        layer.op in (Op.LINEAR, Op.CONV)
        and Role.BIAS.value not in layer.parameters
        and layer_width(index.graph, layer) == 1
    )


def _axis(index: Index, layer: Layer) -> int | None:
    """The softmax's axis, counted from the end."""
    dim = layer.attributes.get("dim")
    if not isinstance(dim, int):
        return None
    if dim < 0:
        return dim
    shape = index.input_shape(layer)
    return None if shape is None or dim >= len(shape) else dim - len(shape)


def _size(index: Index, layer: Layer, axis: int | None) -> FactValue:
    shape = index.input_shape(layer)
    if axis is None or shape is None or -axis > len(shape):
        return Unmeasured("the shape of its input is not known")
    size = shape[axis]
    return size if isinstance(size, int) else Unmeasured("the size of its axis is not fixed in the file")


def _over_batch(layer: Layer, axis: int | None, followed: BatchAxis) -> FactValue:
    if axis is None or not layer.inputs:
        return Unmeasured("the shape of its input is not known")
    batch = followed.axis(layer.inputs[0])
    if isinstance(batch, Unmeasured):
        return batch
    return batch is not None and batch == axis
