"""Ranges of what layers with weights, normalizations, reductions and products of activations make. Stdlib, ir and sibling modules only.

Sums of many terms come out as mean ± 3 standard deviations with independent terms (He et al. 2015, arXiv:1502.01852): an interval of the
largest sum that could be is reached by no input in practice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Graph, Layer, Role
from trainaudit.ir.ops import Op
from trainaudit.measure.intervals.functions import exponential
from trainaudit.measure.intervals.interval import (
    ANY,
    INFINITY,
    Interval,
    absolute,
    add,
    hull,
    multiply,
    square,
)
from trainaudit.measure.intervals.ranges import (
    NO_ZEROS,
    ZERO_VECTORS,
    Range,
    around,
    known,
    moments_of_rectified,
    moments_of_square,
    new_root,
    sum_bounds,
    unknown,
)


@frozen
class Stored:
    """Of a stored tensor: mean, standard deviation and largest absolute value."""

    mean: float
    std: float
    largest: float


Moments = Callable[[str], Stored | None]
"""Parameter name → what is known of its values."""

PRODUCTS = frozenset({Op.LINEAR, Op.CONV, Op.CONV_TRANSPOSE})
SUMS = frozenset(
    {Op.REDUCE_SUM, Op.REDUCE_MEAN, Op.GLOBAL_AVERAGE_POOL, Op.REDUCE_L1, Op.REDUCE_L2, Op.REDUCE_SUM_SQUARE}
)
EXTREMES = frozenset({Op.REDUCE_MAX, Op.REDUCE_MIN, Op.GLOBAL_MAX_POOL, Op.MAX_POOL, Op.REDUCE_LOG_SUM_EXP})

_UNREAD = "the values of its weights are not known"
_STATE = (-0.5, 0.5)
"""Hidden states of a fresh recurrent layer; gates near ½ keep them there."""


def weighted(graph: Graph, layer: Layer, operands: list[Range], values: Moments) -> Range:
    """A linear layer or convolution: Σ w·x + b over its fan-in, the units taken together."""
    roots = new_root(layer.index, operands)
    weight = graph.parameter_of(layer, Role.WEIGHT)
    matrix = None if weight is None else values(weight.name)
    if matrix is None or weight is None or not weight.fan_in:
        return unknown(_UNREAD, roots)
    if not operands or operands[0].spread is None:
        return unknown(operands[0].reason if operands else _UNREAD, roots)
    bias = _stored(graph, layer, Role.BIAS, values) or Stored(0.0, 0.0, 0.0)
    mean, std = operands[0].moments
    n = weight.fan_in
    variance = n * (matrix.std**2 * (mean**2 + std**2) + matrix.mean**2 * std**2) + bias.std**2
    typical = around(bias.mean + n * matrix.mean * mean, math.sqrt(variance), ANY)
    return Range(ANY, typical, roots=roots)


def embedded(graph: Graph, layer: Layer, operands: list[Range], values: Moments) -> Range:
    """Rows of a table."""
    roots = new_root(layer.index, operands)
    table = _stored(graph, layer, Role.EMBEDDING, values)
    if table is None:
        return unknown(_UNREAD, roots)
    bounds = (-table.largest, table.largest)
    return Range(bounds, around(table.mean, table.std, ANY), roots=roots)


def recurrent(layer: Layer, operands: list[Range]) -> list[Range]:
    """Hidden states lie within tanh's limits; an LSTM's cell state has none. Own activation functions are not followed."""
    roots = new_root(layer.index, operands)
    if "activations" in layer.attributes:
        return [unknown("its activation functions are not the usual ones", roots) for _ in layer.outputs]
    hidden = Range((-1.0, 1.0), _STATE, roots=roots)
    return [hidden, hidden, Range(ANY, (2.0 * _STATE[0], 2.0 * _STATE[1]), roots=roots)][: len(layer.outputs)]


def normalized(graph: Graph, layer: Layer, operands: list[Range], values: Moments) -> Range:
    """γ·x̂ + β. Of n values with mean 0 and mean square 1 none exceeds √(n − 1); without the mean taken off, √n."""
    roots = new_root(layer.index, operands)
    if layer.op is Op.LOCAL_RESPONSE_NORM:
        return operands[0]
    count = _normalized_count(graph, layer)
    if layer.op is Op.LP_NORM:
        typical = (-min(1.0, 3.0 / math.sqrt(count)), min(1.0, 3.0 / math.sqrt(count))) if count else None
        if operands[0].bounds[0] >= 0.0:
            return unknown("the share of one element in a length is not followed", roots, (0.0, 1.0))
        return Range((-1.0, 1.0), typical, "the length of the vector is not fixed in the file", roots=roots)
    limit = math.sqrt(count if layer.op is Op.RMS_NORM else count - 1) if count else INFINITY
    if layer.op is Op.BATCH_NORM and not layer.attributes.get("training"):
        limit = INFINITY
    bounds: Interval = (-limit, limit)
    mean, std = 0.0, 1.0
    for role in (Role.SCALE, Role.SHIFT):
        if role.value not in layer.parameters:
            continue
        stored = _stored(graph, layer, role, values)
        if stored is None:
            return unknown(_UNREAD, roots)
        reach = (-stored.largest, stored.largest)
        if role is Role.SCALE:
            bounds, std = multiply(bounds, reach), math.hypot(stored.mean, stored.std)
        else:
            bounds, mean, std = add(bounds, reach), stored.mean, math.hypot(std, stored.std)
    return Range(bounds, around(mean, std, bounds), roots=roots)


def _normalized_count(graph: Graph, layer: Layer) -> int | None:
    """Values that share one mean and variance, the batch left out; None where the file does not fix it."""
    shape = graph.values[layer.inputs[0]].shape if layer.inputs else None
    if layer.op is Op.BATCH_NORM or shape is None:
        return None
    axes = layer.attributes.get("axes")
    if isinstance(axes, tuple):
        sizes = [shape[axis] for axis in axes if isinstance(axis, int) and -len(shape) <= axis < len(shape)]
    else:
        sizes = list(shape[2:])
        groups, channels = layer.attributes.get("num_groups"), shape[1] if len(shape) > 1 else None
        if layer.op is Op.GROUP_NORM:
            if not (isinstance(groups, int) and groups and isinstance(channels, int)):
                return None
            sizes.append(channels // groups)
    count = 1
    for size in sizes:
        if not isinstance(size, int):
            return None
        count *= size
    return count or None


def reduced(graph: Graph, layer: Layer, operand: Range) -> Range:
    """Sums, means and lengths over axes."""
    op = layer.op
    count = _reduced_count(graph, layer)
    a, typical = operand.bounds, operand.typical
    mean, std = operand.moments
    if op is Op.REDUCE_L1:
        a, typical = absolute(a), None if typical is None else absolute(typical)
        mean, std = moments_of_rectified(mean, std, -1.0)
    elif op in (Op.REDUCE_L2, Op.REDUCE_SUM_SQUARE):
        a, typical = square(a), None if typical is None else square(typical)
        mean, std = moments_of_square(mean, std)
    is_mean = op in (Op.REDUCE_MEAN, Op.GLOBAL_AVERAGE_POOL)
    bounds = a if is_mean else sum_bounds(a, count)
    zeros = operand.zeros if operand.zeros == ZERO_VECTORS or count == 1 else NO_ZEROS
    if typical is not None and count != 1:
        terms = count or 1
        scale = 1.0 if is_mean else terms
        typical = around(scale * mean, scale * std / math.sqrt(terms), bounds)
    if typical is not None and zeros == ZERO_VECTORS:
        typical = hull(typical, (0.0, 0.0))
    if op is Op.REDUCE_L2:
        bounds, typical = _root(bounds), None if typical is None else _root(typical)
    return known(bounds, typical, operand, zeros=zeros)


def _root(a: Interval) -> Interval:
    return math.sqrt(max(a[0], 0.0)), math.sqrt(max(a[1], 0.0))


def extreme(graph: Graph, layer: Layer, operand: Range) -> Range:
    """The largest or smallest of several: between the mean and the end of what they fill."""
    a, typical = operand.bounds, operand.typical
    count = _reduced_count(graph, layer) if layer.op is not Op.MAX_POOL else None
    bounds = a
    if layer.op is Op.REDUCE_LOG_SUM_EXP:
        bounds = a[0], a[1] + (math.log(count) if count else INFINITY)
    if typical is not None and count != 1 and layer.op is not Op.MAX_POOL:
        mean = operand.moments[0]
        typical = (typical[0], mean) if layer.op is Op.REDUCE_MIN else (mean, typical[1])
        if layer.op is Op.REDUCE_LOG_SUM_EXP:
            typical = typical[0], typical[1] + math.log(count or 1)
    zeros = operand.zeros if typical == operand.typical or operand.zeros == ZERO_VECTORS else NO_ZEROS
    return known(bounds, typical, operand, zeros=zeros)


def _reduced_count(graph: Graph, layer: Layer) -> int | None:
    """Values that are taken together; None where the file does not fix it."""
    shape = graph.values[layer.inputs[0]].shape if layer.inputs else None
    if shape is None:
        return None
    axes = layer.attributes.get("axes")
    if layer.op in (Op.GLOBAL_AVERAGE_POOL, Op.GLOBAL_MAX_POOL):
        sizes = list(shape[2:])
    elif isinstance(axes, tuple) and axes:
        sizes = [shape[axis] for axis in axes if isinstance(axis, int) and -len(shape) <= axis < len(shape)]
    else:
        sizes = list(shape)
    count = 1
    for size in sizes:
        if not isinstance(size, int):
            return None
        count *= size
    return count or None


def product(graph: Graph, layer: Layer, operands: list[Range]) -> Range:
    """A matrix product of two activations."""
    roots = new_root(layer.index, operands)
    a, b = operands[0], operands[-1]
    shape = graph.values[layer.inputs[0]].shape if layer.inputs else None
    count = shape[-1] if shape and isinstance(shape[-1], int) else None
    bounds = sum_bounds(multiply(a.bounds, b.bounds), count)
    if a.typical is None or b.typical is None:
        return unknown(a.reason or b.reason, roots, bounds)
    if count is None or len(operands) < 2 or not a.roots.isdisjoint(b.roots):
        return unknown("the product of dependent or of very many values is not followed", roots, bounds)
    (mean_a, std_a), (mean_b, std_b) = a.moments, b.moments
    variance = count * ((mean_a**2 + std_a**2) * (mean_b**2 + std_b**2) - (mean_a * mean_b) ** 2)
    typical = around(count * mean_a * mean_b, math.sqrt(max(variance, 0.0)), bounds)
    return replace(known(bounds, typical, a), roots=roots)


def softmaxed(graph: Graph, layer: Layer, operand: Range) -> Range:
    """A softmax: each share lies between e^(low − high)/n and 1."""
    shape, axis = graph.values[layer.inputs[0]].shape, layer.attributes.get("dim")
    size = shape[axis] if shape is not None and isinstance(axis, int) and -len(shape) <= axis < len(shape) else None
    typical = None
    if operand.typical is not None:
        typical = (exponential(operand.typical[0] - operand.typical[1]) / (size if isinstance(size, int) else 1), 1.0)
    return replace(known((0.0, 1.0), typical, operand), is_probability=True)


def attended(layer: Layer, operands: list[Range]) -> list[Range]:
    """Attention mixes values with shares that sum to one; its second output are the shares."""
    roots = new_root(layer.index, operands)
    if len(operands) < 3:
        return [unknown("its values are not told apart", roots) for _ in layer.outputs]
    mixed = replace(operands[2], roots=roots, zeros=NO_ZEROS, is_raw=False, is_probability=False)
    shares = unknown("the shares of attention are not followed", roots, (0.0, 1.0))
    return [mixed, *(replace(shares, is_probability=True) for _ in layer.outputs[1:])]


def stored_operands(layer: Layer, values: Moments) -> list[Range]:
    """The stored tensors that an arithmetic layer owns, as operands."""
    found = []
    for name in layer.parameters.values():
        stored = values(name)
        if stored is None:
            found.append(unknown("the values of a stored tensor are not measured", frozenset()))
        else:
            bounds = (-stored.largest, stored.largest)
            found.append(Range(bounds, around(stored.mean, stored.std, bounds) if stored.std else (stored.mean,) * 2))
    return found


def _stored(graph: Graph, layer: Layer, role: Role, values: Moments) -> Stored | None:
    parameter = graph.parameter_of(layer, role)
    return None if parameter is None else values(parameter.name)
