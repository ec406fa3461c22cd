"""One pass forward over what is asked for: every value's range from those it is made of. Stdlib, ir and sibling modules only.

Float inputs that nothing is declared of are unbounded, and standardised (mean 0, standard deviation 1) where the first layer with weights reads
them; what is computed of them before that may be of any sign and is left open. Integer inputs are ≥ 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from trainaudit.ir.graph import Graph, Layer
from trainaudit.ir.ops import DROPOUTS, NORMALIZATIONS, RECURRENT, SHAPING, Op
from trainaudit.measure.intervals import arithmetic, layers
from trainaudit.measure.intervals.functions import image
from trainaudit.measure.intervals.interval import ANY, INFINITY, NON_NEGATIVE, UNIT, Interval, hull, multiply
from trainaudit.measure.intervals.layers import Moments
from trainaudit.measure.intervals.ranges import (
    NO_ZEROS,
    SOME_ZEROS,
    Range,
    known,
    moments_of_rectified,
    moved,
    new_root,
    union_of_roots,
    unknown,
)

_PARTS = frozenset({Op.SLICE, Op.SPLIT, Op.GATHER})
_ROUNDING = frozenset({Op.CAST, Op.QUANTIZE, Op.DEQUANTIZE})
_PASSING = SHAPING - _PARTS - _ROUNDING - {Op.PAD} | {Op.SEQUENCE, Op.TOP_K}
_SELF_SUFFICIENT = (
    (NORMALIZATIONS - {Op.LOCAL_RESPONSE_NORM}) | RECURRENT | {Op.EMBEDDING, Op.SHAPE, Op.CONSTANT, Op.RANDOM}
)
"""Layers whose results are bounded whatever comes in."""
_STEPWISE = frozenset({Op.COMPARE, Op.LOGICAL, Op.ONE_HOT, Op.IS_FINITE})
_ZERO_AT_ZERO = frozenset(
    {Op.LEAKY_RELU, Op.PRELU, Op.ELU, Op.SELU, Op.CELU, Op.GELU, Op.SILU, Op.MISH, Op.HARD_SWISH, Op.TANH, Op.HARD_TANH,
     Op.SOFTSIGN, Op.ABS, Op.NEG, Op.SQRT, Op.SIN, Op.ERF, Op.SIGN, Op.ROUND, Op.CLIP}
)  # fmt: skip
_RECTIFYING = {Op.RELU: 0.0, Op.RELU6: 0.0, Op.LEAKY_RELU: 0.0, Op.ABS: -1.0}
_SQUASHING = frozenset({Op.SIGMOID, Op.HARD_SIGMOID})
_UNSAID = "nothing is said about its input, and no layer with weights stands between"
_INTEGER = "nothing is said about the integer input that it is computed from"


def value_ranges(
    graph: Graph, wanted: Iterable[str], values: Moments, declared: Mapping[str, Interval]
) -> dict[str, Range]:
    """The ranges of the wanted values and of all that they are made of. `declared` gives the intervals of inputs by name."""
    found: dict[str, Range] = {}
    for number, name in enumerate(graph.inputs):
        found[name] = _input(graph, name, -1 - number, declared.get(name))
    for layer in _needed(graph, wanted):
        operands = [found.get(name) or unknown(_UNSAID, frozenset()) for name in layer.inputs]
        results = _results(graph, layer, operands, values)
        for name, result in zip(layer.outputs, results, strict=False):
            found[name] = result
    return found


def _input(graph: Graph, name: str, root: int, interval: Interval | None) -> Range:
    roots = frozenset((root,))
    if interval is not None:
        return Range(interval, interval, roots=roots)
    value = graph.values.get(name)
    dtype = "" if value is None or value.dtype is None else value.dtype
    if dtype == "bool":
        return Range(UNIT, UNIT, zeros=SOME_ZEROS, roots=roots)
    if dtype.startswith(("int", "uint")):
        return unknown(_INTEGER, roots, NON_NEGATIVE)
    return Range(ANY, None, _UNSAID, is_raw=True, roots=roots)


def _needed(graph: Graph, wanted: Iterable[str]) -> list[Layer]:
    """The layers above the wanted values, as far as what comes in matters; in order."""
    chosen: set[int] = set()
    pending = list(wanted)
    while pending:
        value = graph.values.get(pending.pop())
        producer = None if value is None else value.producer
        if producer is None or producer in chosen:
            continue
        chosen.add(producer)
        layer = graph.layers[producer]
        if layer.op not in _SELF_SUFFICIENT:
            pending.extend(layer.inputs)
    return [graph.layers[place] for place in sorted(chosen)]


def _results(graph: Graph, layer: Layer, operands: list[Range], values: Moments) -> list[Range]:
    op = layer.op
    if op in _SELF_SUFFICIENT:
        return _made_anew(graph, layer, values)
    if op in arithmetic.ARITHMETIC:
        stored = layers.stored_operands(layer, values) if "scalar" not in layer.attributes else []
        return [arithmetic.combine(graph, layer, operands, stored)] if operands else _unfollowed(layer, operands)
    if not operands:
        return _unfollowed(layer, operands)
    first = operands[0]
    if op in _PASSING:
        return [
            first if slot == 0 else unknown(_INTEGER, first.roots, NON_NEGATIVE) for slot in range(len(layer.outputs))
        ]
    if op in _ROUNDING:
        return [_rounded(layer, first)]
    if op is Op.RESIZE:
        return [replace(first, bounds=ANY, is_probability=False)]  # cubic interpolation overshoots
    if op in _PARTS:
        return [moved(first, layer.index * 64 + slot) for slot in range(len(layer.outputs))]
    if op in layers.PRODUCTS:
        return [layers.weighted(graph, layer, operands, values)]
    if op in layers.SUMS:
        return [layers.reduced(graph, layer, first)]
    if op in layers.EXTREMES:
        return [layers.extreme(graph, layer, first)]
    if op is Op.SOFTMAX:
        return [layers.softmaxed(graph, layer, first)]
    if op is Op.MATMUL:
        return [layers.product(graph, layer, operands)]
    if op is Op.ATTENTION:
        return layers.attended(layer, operands)
    if op in DROPOUTS:
        return [_dropped(layer, first), *(Range(UNIT, UNIT, zeros=SOME_ZEROS) for _ in layer.outputs[1:])]
    if op in (Op.CONCAT, Op.PAD, Op.TRIANGLE):
        return [_joined(layer, operands)]
    if op is Op.WHERE:
        return [
            arithmetic.chosen(
                layer, [r for r, name in zip(operands, layer.inputs, strict=True) if not _is_bool(graph, name)]
            )
        ]
    if op is Op.AVERAGE_POOL:
        return [replace(first, bounds=hull(first.bounds, (0.0, 0.0)), zeros=NO_ZEROS)]
    if op in _STEPWISE:
        return [Range(UNIT, UNIT, zeros=SOME_ZEROS, roots=union_of_roots(layer.index, operands))]
    return _function(layer, first, values)


def _made_anew(graph: Graph, layer: Layer, values: Moments) -> list[Range]:
    """Layers whose operands were not looked at; that an input reaches them is taken for granted, but for sizes, constants and noise."""
    depends = [Range(ANY, roots=frozenset((layer.index,)))]
    op = layer.op
    if op in RECURRENT:
        return layers.recurrent(layer, depends)
    if op is Op.EMBEDDING:
        return [layers.embedded(graph, layer, depends, values)]
    if op in NORMALIZATIONS:
        return [layers.normalized(graph, layer, depends, values)]
    bounds = NON_NEGATIVE if op is Op.SHAPE else UNIT if "Uniform" in layer.raw_op and not layer.attributes else ANY
    typical = (-3.0, 3.0) if op is Op.RANDOM and "Normal" in layer.raw_op else None
    return [Range(bounds, typical, "a number that no input decides") for _ in layer.outputs]


def _function(layer: Layer, operand: Range, values: Moments) -> list[Range]:
    """Activation functions and elementwise mathematics."""
    op, attributes = layer.op, layer.attributes
    if op is Op.PRELU and layer.parameters:
        slope = values(next(iter(layer.parameters.values())))
        if slope is None:
            return _unfollowed(layer, [operand])
        reach = multiply((-slope.largest, slope.largest), (min(operand.bounds[0], 0.0), 0.0))
        bounds: Interval | None = hull(reach, (max(operand.bounds[0], 0.0), max(operand.bounds[1], 0.0)))
    else:
        bounds = image(op, attributes, operand.bounds)
    if bounds is None:
        return _unfollowed(layer, [operand])
    typical = operand.typical
    if typical is not None:
        if (op is Op.LOG and typical[0] <= 0.0) or (op is Op.SQRT and typical[0] < 0.0):
            return [unknown("it is undefined for some of its operands", operand.roots, bounds)]
        typical = image(op, attributes, typical)
    zeros = operand.zeros if op in _ZERO_AT_ZERO else NO_ZEROS
    bent = _RECTIFYING.get(op)
    uneven = None if bent is None or typical is None else moments_of_rectified(*operand.moments, bent)
    result = known(bounds, typical, operand, zeros=zeros, uneven=uneven)
    return [replace(result, is_probability=op in _SQUASHING or (op is Op.CLIP and operand.is_probability))]


def _rounded(layer: Layer, operand: Range) -> Range:
    """What a cast to integers or a quantization leaves: a small ε becomes zero."""
    to = layer.attributes.get("to")
    if layer.op is Op.CAST and not (isinstance(to, str) and to.startswith(("int", "uint"))):
        return operand
    bounds = hull(operand.bounds, (0.0, 0.0))
    if layer.op is not Op.CAST:  # to the nearest step, which may lie beyond
        bounds = (bounds[0] and -INFINITY), (bounds[1] and INFINITY)
    return Range(bounds, None, "it is rounded", roots=operand.roots)


def _dropped(layer: Layer, operand: Range) -> Range:
    rate = layer.attributes.get("p")
    kept = 1.0 - rate if isinstance(rate, (int, float)) and 0.0 <= rate < 1.0 else 0.0
    if layer.op is Op.ALPHA_DROPOUT or not kept:
        return unknown("its dropout is not followed", operand.roots)
    bounds = hull((0.0, 0.0), multiply(operand.bounds, (1.0, 1.0 / kept)))
    return replace(operand, bounds=bounds, zeros=max(operand.zeros, SOME_ZEROS), is_probability=False)


def _joined(layer: Layer, operands: list[Range]) -> Range:
    bounds = hull(*(operand.bounds for operand in operands))
    if layer.op is not Op.CONCAT or layer.parameters:
        value = layer.attributes.get("value")
        bounds = (
            ANY
            if layer.parameters
            else hull(bounds, (float(value), float(value)) if isinstance(value, (int, float)) else (0.0, 0.0))
        )
    typicals = [operand.typical for operand in operands if operand.typical is not None]
    whole = hull(*typicals) if len(typicals) == len(operands) else None
    result = known(bounds, whole, next((o for o in operands if o.typical is None), operands[0]))
    zeros = max(operand.zeros for operand in operands)
    return replace(
        result, roots=new_root(layer.index, operands), zeros=min(zeros, SOME_ZEROS), is_raw=all(o.is_raw for o in operands),
        is_probability=all(o.is_probability for o in operands),
    )  # fmt: skip


def _is_bool(graph: Graph, name: str) -> bool:
    value = graph.values.get(name)
    return value is not None and value.dtype == "bool"


def _unfollowed(layer: Layer, operands: list[Range]) -> list[Range]:
    roots = new_root(layer.index, operands)
    return [unknown(f"intervals are not followed through {layer.raw_op}", roots) for _ in layer.outputs]
