"""How near logarithms, roots, divisions and exponentials come to where they end. May import `ir`, `measure.facts` and sibling modules.

The facts are numbers under one assumption, told in the catalog: float inputs are standardised where the first weights read them, or lie in
their declared interval. A guard (+ ε, clamp, softplus, max) shows as a bound that holds for every input; where neither a bound nor the
typical values decide, nothing is measured. Lengths of one operator (ReduceL2) are left out: torch's norm has the gradient zero at zero.

Sources: Zhang et al. 2020 (DEBAR), Yan et al. 2021 (GRIST), Li et al. 2023 (RANUM, arXiv:2302.06086).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from trainaudit.ir.graph import Graph, Layer
from trainaudit.ir.ops import Op
from trainaudit.measure.facts import Columns, FactValue, Unmeasured
from trainaudit.measure.intervals.interval import INFINITY, Interval, absolute
from trainaudit.measure.intervals.layers import Moments, Stored
from trainaudit.measure.intervals.propagation import value_ranges
from trainaudit.measure.intervals.ranges import NO_ZEROS, Range
from trainaudit.measure.static.layer_facts import DTYPE_MAX

_WATCHED = frozenset({Op.LOG, Op.SQRT, Op.DIV, Op.RECIPROCAL, Op.POW, Op.EXP, Op.SOFTMAX, Op.SOFTPLUS})
_NO_TYPE = Unmeasured("the type of its result is not known")
_CHOSEN = Unmeasured("a condition chooses among its results, which may leave out those that matter")
_MAY_BE_GUARDED = Unmeasured(
    "its operand comes down to zero without an ε in the file, and the exporter leaves out an ε below 1e-8 when it optimizes"
)


FACTS = (
    "layer.smallest_operand", "layer.operand_bound", "layer.operand_has_zeros", "layer.smallest_divisor", "layer.largest_exponent", "layer.exponent_limit",
)  # fmt: skip


def measure_singularities(graph: Graph, columns: Columns, declared: Mapping[str, Interval]) -> Columns:
    """The `FACTS`. `columns` holds the statistics of parameters. Only what leads to such layers is looked at."""
    watched = [(layer, _operand(layer)) for layer in graph.layers if layer.op in _WATCHED]
    wanted = [(layer, name) for layer, name in watched if name is not None]
    ranges = value_ranges(graph, (name for _, name in wanted), _moments(columns), declared)
    smallest: dict[str, FactValue] = {}
    bound: dict[str, FactValue] = {}
    has_zeros: dict[str, FactValue] = {}
    divisor: dict[str, FactValue] = {}
    exponent: dict[str, FactValue] = {}
    limit: dict[str, FactValue] = {}
    for layer, name in wanted:
        range_ = ranges.get(name)
        if range_ is None or not range_.roots or not _is_float(graph, layer):
            continue
        if _is_exponential(layer):
            exponent[layer.name] = _largest(range_)
            limit[layer.name] = _exponent_limit(graph, layer)
        elif layer.op in (Op.DIV, Op.RECIPROCAL) or (layer.op is Op.POW and _exponent(layer) < 0.0):
            divisor[layer.name] = _unless_chosen(graph, layer, _smallest_divisor(graph, layer, range_))
        else:
            found = _smallest(graph, layer, range_)
            if layer.op is not Op.LOG:
                low = range_.bounds[0]
                if low > -INFINITY:
                    bound[layer.name] = _zero(graph, layer) if low == 0.0 else low
                has_zeros[layer.name] = range_.zeros != NO_ZEROS
            smallest[layer.name] = found if range_.zeros else _unless_chosen(graph, layer, found)
    found_facts: tuple[dict[str, FactValue], ...] = (smallest, bound, has_zeros, divisor, exponent, limit)
    return dict(zip(FACTS, found_facts, strict=True))


def _operand(layer: Layer) -> str | None:
    """The value that may come to where the function ends: the divisor of a division, else the operand. None where that is stored."""
    op, names = layer.op, layer.inputs
    if not names:
        return None
    if op is Op.DIV:
        if len(names) == 2:
            return names[1]
        return names[0] if layer.attributes.get("scalar_side") == "left" else None
    if op is Op.POW:
        exponent = _exponent(layer)
        return names[0] if exponent < 0.0 or exponent != int(exponent) else None
    if op is Op.SOFTMAX or op is Op.SOFTPLUS:
        return names[0] if _is_exponential(layer) else None
    return names[0]


def _exponent(layer: Layer) -> float:
    """Of a power with a stored exponent; 1, which ends nowhere, for others."""
    scalar = layer.attributes.get("scalar")
    is_fixed = isinstance(scalar, (int, float)) and layer.attributes.get("scalar_side") == "right"
    return float(scalar) if is_fixed and isinstance(scalar, (int, float)) and math.isfinite(scalar) else 1.0


def _is_exponential(layer: Layer) -> bool:
    """An exponential, a softmax that is written with one and without taking the maximum off first, or log(1 + exp(x)) with nothing chosen beside it."""
    if layer.op is Op.SOFTMAX:
        return "Exp" in layer.raw_op and "ReduceMax" not in layer.raw_op
    if layer.op is Op.SOFTPLUS:
        return "Exp" in layer.raw_op and "Where" not in layer.raw_op
    return layer.op is Op.EXP


def _smallest(graph: Graph, layer: Layer, range_: Range) -> FactValue:
    """Of a logarithm's or a root's operand."""
    low = range_.bounds[0]
    if low > 0.0:
        return low
    if range_.is_probability and layer.op is Op.LOG:
        return _zero(graph, layer)  # 1 − σ(x): training drives it there
    if range_.typical is None:
        return Unmeasured(range_.reason)
    least = range_.typical[0]
    return _zero(graph, layer) if least == 0.0 else least


def _smallest_divisor(graph: Graph, layer: Layer, range_: Range) -> FactValue:
    low, high = range_.bounds
    if low > 0.0 or high < 0.0:
        return min(abs(low), abs(high))
    if range_.typical is None:
        return Unmeasured(range_.reason)
    low, high = range_.typical
    if low < 0.0 < high:
        return 0.0
    distance = absolute(range_.typical)[0]
    return _zero(graph, layer) if distance == 0.0 else distance


def _zero(graph: Graph, layer: Layer) -> FactValue:
    """Zero from one side. In a file that torch's optimizing exporter wrote, an ε may have been there: its notes tell."""
    is_dropped = layer.attributes.get("epsilon_dropped")
    if is_dropped is None:
        is_dropped = (
            graph.origin.format == "onnx" and graph.form != "training" and layer.source.module_class is not None
        )
    return _MAY_BE_GUARDED if is_dropped else 0.0


def _largest(range_: Range) -> FactValue:
    """Of an exponential's operand."""
    if range_.typical is not None:
        return min(range_.typical[1], range_.bounds[1])
    return range_.bounds[1] if range_.bounds[1] < INFINITY else Unmeasured(range_.reason)


def _unless_chosen(graph: Graph, layer: Layer, found: FactValue) -> FactValue:
    """Where only conditions read the result, they may be the guard."""
    if not isinstance(found, float) or found > 0.0:
        return found
    value = graph.values.get(layer.outputs[0])
    users = () if value is None else value.consumers
    return _CHOSEN if users and all(graph.layers[user].op is Op.WHERE for user in users) else found


def _is_float(graph: Graph, layer: Layer) -> bool:
    value = graph.values.get(layer.outputs[0])
    return value is None or value.dtype is None or value.dtype in DTYPE_MAX


def _exponent_limit(graph: Graph, layer: Layer) -> FactValue:
    value = graph.values.get(layer.outputs[0])
    largest = DTYPE_MAX.get(value.dtype or "") if value is not None else None
    return _NO_TYPE if largest is None else math.log(largest)


def _moments(columns: Columns) -> Moments:
    """Mean, standard deviation and largest absolute value from the facts of parameters."""
    means, stds, largest = (columns.get(f"parameter.{fact}", {}) for fact in ("mean", "std", "absmax"))

    def of(name: str) -> Stored | None:
        values = means.get(name), stds.get(name), largest.get(name)
        if all(isinstance(value, float) for value in values):
            return Stored(*(float(value) for value in values if isinstance(value, float)))
        return None

    return of
