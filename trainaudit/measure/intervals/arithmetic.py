"""Ranges of sums, products, quotients and powers, and the relations between operands that plain intervals lose.

Stdlib, ir and sibling modules only.
"""

from __future__ import annotations

import math
from dataclasses import replace

from trainaudit.ir.graph import Graph, Layer
from trainaudit.ir.ops import Op
from trainaudit.measure.intervals.functions import exponential
from trainaudit.measure.intervals.interval import (
    ANY,
    NON_NEGATIVE,
    UNIT,
    Interval,
    absolute,
    add,
    hull,
    monotone,
    multiply,
    negative,
    power,
    reciprocal,
    subtract,
    within,
)
from trainaudit.measure.intervals.ranges import (
    NO_ZEROS,
    SOME_ZEROS,
    ZERO_VECTORS,
    Range,
    around,
    known,
    moments_of_square,
    union_of_roots,
    unknown,
)

ARITHMETIC = frozenset({Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.POW, Op.MAX, Op.MIN})

_PLACING = frozenset(
    {Op.UNSQUEEZE, Op.SQUEEZE, Op.EXPAND, Op.TILE, Op.RESHAPE, Op.TRANSPOSE, Op.FLATTEN, Op.IDENTITY, Op.DETACH}
)
_DEPENDENT = "its operands depend on each other in a way that is not followed"


def combine(graph: Graph, layer: Layer, operands: list[Range], stored: list[Range]) -> Range:
    """The range of an arithmetic layer. `operands` belong to its inputs, `stored` to the tensors it owns (taken for the right operand)."""
    everything = _in_order(layer, operands, stored)
    if len(everything) == 1:
        return everything[0]
    op = layer.op
    related = _related(graph, layer, everything)
    if related is not None:
        return related
    result = everything[0]
    for other in everything[1:]:
        result = _two(op, layer.index, result, other)
    is_raw = op is not Op.POW and len(operands) == 1 and operands[0].is_raw and op not in (Op.MAX, Op.MIN)
    if is_raw and not (op is Op.DIV and layer.attributes.get("scalar_side") == "left"):
        return replace(result, is_raw=True)
    if op is Op.SUB and layer.attributes.get("scalar") == 1.0 and everything[-1].is_probability and not stored:
        return replace(result, is_probability=True)
    return result


def _in_order(layer: Layer, operands: list[Range], stored: list[Range]) -> list[Range]:
    scalar = layer.attributes.get("scalar")
    everything = [*operands, *stored]
    if isinstance(scalar, (int, float)) and not stored:
        number = Range((float(scalar), float(scalar)), (float(scalar), float(scalar)))
        everything = [number, *everything] if layer.attributes.get("scalar_side") == "left" else [*everything, number]
    return everything


def _two(op: Op, place: int, a: Range, b: Range) -> Range:
    """Two operands whose relation, if there is one, is not known."""
    bounds = _exact(op, a.bounds, b.bounds)
    roots = union_of_roots(place, [a, b])
    if a.typical is None or b.typical is None:
        return unknown(a.reason or b.reason, roots, bounds)
    if not a.roots.isdisjoint(b.roots) and op not in (Op.MAX, Op.MIN):
        return unknown(_DEPENDENT, roots, bounds)
    zeros = NO_ZEROS
    uneven = None
    typical: Interval | None
    if op in (Op.ADD, Op.SUB):
        (mean_a, std_a), (mean_b, std_b) = a.moments, b.moments
        if std_a and std_b:
            mean = mean_a + mean_b if op is Op.ADD else mean_a - mean_b
            typical = around(mean, math.hypot(std_a, std_b), bounds)
        else:
            typical = _exact(op, a.typical, b.typical)
        if b.typical == (0.0, 0.0):
            zeros = a.zeros
    elif op is Op.MUL:
        typical = _product(a, b, bounds)
        zeros = max(a.zeros, b.zeros)
    elif op in (Op.DIV, Op.POW):
        typical = _exact(op, a.typical, b.typical)
        zeros = a.zeros
        uneven = moments_of_square(*a.moments) if op is Op.POW and b.typical == (2.0, 2.0) else None
    else:
        typical = _exact(op, a.typical, b.typical)
    return replace(
        known(bounds, typical, a, zeros=zeros, uneven=uneven),
        roots=roots,
        is_probability=op is Op.MUL and a.is_probability and b.is_probability,
    )


def _exact(op: Op, a: Interval, b: Interval) -> Interval:
    if op is Op.ADD:
        return add(a, b)
    if op is Op.SUB:
        return subtract(a, b)
    if op is Op.MUL:
        return multiply(a, b)
    if op is Op.DIV:
        return multiply(a, reciprocal(b))
    if op is Op.MAX:
        return max(a[0], b[0]), max(a[1], b[1])
    if op is Op.MIN:
        return min(a[0], b[0]), min(a[1], b[1])
    return _power(a, b)


def _power(a: Interval, b: Interval) -> Interval:
    if b[0] == b[1]:
        return power(a, b[0])
    if a[0] == a[1] and a[0] > 0.0:
        factor = math.log(a[0])
        return monotone(exponential, multiply(b, (factor, factor)))
    return NON_NEGATIVE if a[0] >= 0.0 else ANY


def _product(a: Range, b: Range, bounds: Interval) -> Interval:
    """Of independent factors: the product of two means, and the standard deviation of the product."""
    extreme = multiply(a.typical or ANY, b.typical or ANY)
    (mean_a, std_a), (mean_b, std_b) = a.moments, b.moments
    if not (std_a and std_b):
        return extreme
    variance = (mean_a**2 + std_a**2) * (mean_b**2 + std_b**2) - (mean_a * mean_b) ** 2
    low, high = within(around(mean_a * mean_b, math.sqrt(max(variance, 0.0)), bounds), extreme)
    # factors that come near zero bring the product there
    return (0.0 if extreme[0] == 0.0 else low), (0.0 if extreme[1] == 0.0 else high)


def _related(graph: Graph, layer: Layer, operands: list[Range]) -> Range | None:
    """x − x, x − max x, x − mean x, x/(x + c) and x/Σx, which know more than their operands' intervals."""
    names = layer.inputs
    if len(names) != 2 or len(operands) != 2:
        return None
    op, (a, b) = layer.op, operands
    if op is Op.SUB:
        return _difference(graph, layer, a, b)
    if op is Op.DIV and a.bounds[0] >= 0.0:
        maker = graph.maker_of(names[1])
        if maker is not None and names[0] in maker.inputs and maker.op in (Op.ADD, Op.REDUCE_SUM, Op.REDUCE_MAX):
            scalar = maker.attributes.get("scalar", 0.0)
            if b.bounds[0] >= 0.0 and isinstance(scalar, (int, float)) and scalar >= 0.0:
                return unknown(_DEPENDENT, union_of_roots(layer.index, operands), UNIT)
    return None


def _difference(graph: Graph, layer: Layer, a: Range, b: Range) -> Range | None:
    first, second = layer.inputs
    if first == second:
        return known((0.0, 0.0), (0.0, 0.0), a, zeros=ZERO_VECTORS)
    for extreme, whole, range_ in ((second, first, a), (first, second, b)):
        maker = graph.maker_of(extreme)
        if maker is None or not maker.inputs or maker.inputs[0] != whole:
            continue
        typical = range_.typical
        if maker.op is Op.REDUCE_MEAN:
            centered = None if typical is None else (-(typical[1] - typical[0]) / 2.0, (typical[1] - typical[0]) / 2.0)
            return known(subtract(a.bounds, b.bounds), centered, range_)
        if maker.op in (Op.REDUCE_MAX, Op.REDUCE_MIN):
            is_below = (maker.op is Op.REDUCE_MAX) == (extreme == second)
            distance = None if typical is None else (0.0, typical[1] - typical[0])
            above = known(within(absolute(subtract(a.bounds, b.bounds)), NON_NEGATIVE), distance, range_)
            above = replace(above, bounds=(0.0, above.bounds[1]), zeros=SOME_ZEROS)
            return _negated(above) if is_below else above
    if _base(graph, first) == _base(graph, second) and graph.values[first].shape != graph.values[second].shape:
        typical = a.typical
        spread = None if typical is None else (typical[0] - typical[1], typical[1] - typical[0])
        return known(subtract(a.bounds, b.bounds), spread, a, zeros=ZERO_VECTORS)
    return None


def _negated(range_: Range) -> Range:
    typical = None if range_.typical is None else negative(range_.typical)
    return replace(range_, bounds=negative(range_.bounds), typical=typical)


def _base(graph: Graph, name: str) -> str:
    """The value that another one is a mere placing of: `z` of `z[:, None]`."""
    for _ in range(8):
        maker = graph.maker_of(name)
        if maker is None or maker.op not in _PLACING or not maker.inputs:
            return name
        name = maker.inputs[0]
    return name


def chosen(layer: Layer, branches: list[Range]) -> Range:
    """What a where makes: one of its branches, the stored number among them."""
    fill = layer.attributes.get("fill")
    bounds = [branch.bounds for branch in branches]
    if isinstance(fill, (int, float)):
        bounds.append((float(fill), float(fill)))
    roots = union_of_roots(layer.index, branches) if branches else frozenset[int]()
    return unknown("a condition chooses what it is", roots, hull(*bounds) if bounds else ANY)
