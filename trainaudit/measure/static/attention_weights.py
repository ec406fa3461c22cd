"""Scales that meet in a transformer: attention scores, logits of a tied embedding, token against positional embedding.

Traces through the graph from one weight to the other. Imports ir and measure.facts only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from trainaudit.ir.graph import Graph, Layer, Parameter, Role
from trainaudit.ir.ops import DROPOUTS, NORMALIZATIONS, SHAPING, Op
from trainaudit.measure.facts import Columns, FactValue, Unmeasured
from trainaudit.measure.static.initialization import MeasuredParameter
from trainaudit.measure.static.layer_weights import unread_reason

Measured = Mapping[str, MeasuredParameter]

_ROTATING = SHAPING | DROPOUTS | {Op.MUL, Op.DIV, Op.ADD, Op.SUB, Op.NEG, Op.CONCAT, Op.GATHER, Op.WHERE, Op.SEQUENCE}
"""What may stand between a projection and the product of queries and keys: heads being split, rotary positions, scale factors."""
_TOLD = frozenset({Op.ATTENTION, Op.EMBEDDING})
_SCALING = frozenset({Op.MUL, Op.DIV})
_REACH = 96
"""Layers to look at on the way back: a rotary embedding takes about a dozen."""
_FORWARD = 24


def measure_attention_weights(graph: Graph, measured: Measured, columns: Columns) -> None:
    """layer.attention_logit_std, parameter.tied_logit_std and parameter.position_scale_ratio."""
    for layer in [layer for layer in graph.layers if layer.op in _TOLD]:
        if layer.op is Op.ATTENTION:
            columns["layer.attention_logit_std"][layer.name] = _logit_std(graph, layer, measured)
        else:
            _position_ratio(graph, layer, measured, columns)
    for name, one in measured.items():
        if len(one.parameter.owners) > 1 and one.statistics.size:
            _tied(graph, name, one, columns)


def _logit_std(graph: Graph, attention: Layer, measured: Measured) -> FactValue:
    """scale·√d·gain(q)·gain(k): q and k are sums of fan_in products with independent, standardised inputs."""
    head = attention.attributes.get("head_dim")
    scale = attention.attributes.get("scale", 1.0)
    if not isinstance(head, int) or not isinstance(scale, int | float):
        return Unmeasured("the size of the attention heads is not known")
    sources = [projection(graph, name) for name in attention.inputs[:3]]
    product = abs(float(scale)) * math.sqrt(head)
    for slot, source in enumerate(sources[:2]):
        if source is None:
            return Unmeasured("the layers that make queries and keys could not be traced")
        sharing = [other for other in sources if other is source]
        gain = _projection_gain(graph, source, measured, slot if source is sources[0] else 0, len(sharing))
        if isinstance(gain, Unmeasured):
            return gain
        product *= gain
    return product if len(sources) > 1 else Unmeasured("the layers that make queries and keys could not be traced")


def projection(graph: Graph, value: str) -> Layer | None:
    """The weighted or normalizing layer whose output reaches `value` through reshapes, rotary positions and scale factors."""
    waiting = [value]
    seen: set[int] = set()
    while waiting and len(seen) < _REACH:
        found = graph.values.get(waiting.pop(0))
        if found is None or found.producer is None or found.producer in seen:
            continue
        seen.add(found.producer)
        layer = graph.layers[found.producer]
        if layer.op in (Op.LINEAR, Op.CONV) or layer.op in NORMALIZATIONS:
            return layer
        if layer.op in _ROTATING:
            waiting.extend(
                layer.inputs[:1] if layer.op in SHAPING or layer.op in (Op.GATHER, Op.SEQUENCE) else layer.inputs
            )
    return None


def _projection_gain(graph: Graph, layer: Layer, measured: Measured, slot: int, sharing: int) -> float | Unmeasured:
    """std of the layer's output for standardised independent inputs. `slot` of `sharing` equal parts of its units counts, where one
    layer makes queries, keys and values."""
    if layer.op in NORMALIZATIONS:
        scale = graph.parameter_of(layer, Role.SCALE)
        one = measured.get(scale.name) if scale is not None else None
        return 1.0 if one is None else math.sqrt(one.statistics.sum_of_squares / max(1, one.statistics.size))
    weight = graph.parameter_of(layer, Role.WEIGHT)
    if weight is None or not weight.fan_in:
        return Unmeasured("the layers that make queries and keys could not be traced")
    one = measured.get(weight.name)
    if one is None:
        return Unmeasured(unread_reason(weight))
    if one.statistics.non_finite_count:
        return Unmeasured("the weights that make queries and keys are not finite")
    std = _part_std(one, slot, sharing) if sharing > 1 else one.statistics.std
    return std * math.sqrt(weight.fan_in)


def _part_std(one: MeasuredParameter, slot: int, sharing: int) -> float:
    """Standard deviation of one of equal parts of the units, from what the pass kept."""
    statistics, axis, shape = one.statistics, one.parameter.unit_axis, one.parameter.shape
    if axis is None or shape[axis] % sharing:
        return statistics.std
    width = shape[axis] // sharing
    chosen: npt.NDArray[np.floating] | None = None
    if axis == 0 and statistics.rows == shape[0]:
        units = np.arange(len(statistics.sample)) * statistics.sample_step
        chosen = statistics.sample[(units >= slot * width) & (units < (slot + 1) * width)]
    elif axis == len(shape) - 1 and statistics.columns == shape[axis]:
        if statistics.is_whole:
            chosen = statistics.sample[:, slot * width : (slot + 1) * width]
        elif statistics.first_rows is not None:
            rows = statistics.first_rows[:, slot * width : (slot + 1) * width]
            chosen = (
                (rows.astype(np.uint32) << 16).view(np.float32) if rows.dtype == np.uint16 else rows.astype(np.float64)
            )
    return float(np.std(chosen, dtype=np.float64)) if chosen is not None and chosen.size else statistics.std


def _tied(graph: Graph, name: str, one: MeasuredParameter, columns: Columns) -> None:
    """std·√width times the stored factors on the final hidden state and on the logits, for an embedding that is the head's weight too."""
    owners = [graph.layers[i] for i in one.parameter.owners]
    head = next((layer for layer in owners if layer.op is Op.LINEAR), None)
    if head is None or all(layer.op is not Op.EMBEDDING for layer in owners) or len(one.parameter.shape) != 2:
        return
    if one.statistics.non_finite_count:
        columns["parameter.tied_logit_std"][name] = Unmeasured("the embedding is not finite")
        return
    width = head.attributes.get("in_features")
    size = width if isinstance(width, int) else one.parameter.shape[1]
    alpha = head.attributes.get("alpha", 1.0)
    factor = float(alpha) if isinstance(alpha, int | float) else 1.0
    factor *= _factor_before(graph, head) * _factor_behind(graph, head)
    columns["parameter.tied_logit_std"][name] = one.statistics.std * math.sqrt(size) * abs(factor)


def _factor_before(graph: Graph, layer: Layer) -> float:
    """Product of the stored factors between a layer's input and what computes it."""
    factor = 1.0
    for _ in range(_FORWARD):
        value = graph.values.get(layer.inputs[0]) if layer.inputs else None
        if value is None or value.producer is None:
            break
        layer = graph.layers[value.producer]
        if layer.op in _SCALING and "scalar" in layer.attributes:
            factor *= _scalar(layer)
        elif layer.op not in SHAPING and layer.op not in DROPOUTS:
            break
    return factor


def _factor_behind(graph: Graph, layer: Layer) -> float:
    """Product of the stored factors that a layer's output meets."""
    factor = 1.0
    for following in _followers(graph, layer):
        if following.op in _SCALING and "scalar" in following.attributes:
            factor *= _scalar(following)
        elif following.op not in SHAPING:
            break
    return factor


def _scalar(layer: Layer) -> float:
    scalar = layer.attributes["scalar"]
    number = float(scalar) if isinstance(scalar, int | float) else 1.0
    if layer.op is Op.DIV and layer.attributes.get("scalar_side", "right") == "right":
        return 1.0 / number if number else 1.0
    return number if layer.op is Op.MUL else 1.0


def _followers(graph: Graph, layer: Layer) -> list[Layer]:
    """The layers behind a layer, as long as each is the only consumer."""
    found: list[Layer] = []
    while len(found) < _FORWARD and layer.outputs:
        value = graph.values.get(layer.outputs[0])
        if value is None or len(value.consumers) != 1:
            break
        layer = graph.layers[value.consumers[0]]
        found.append(layer)
    return found


def _position_ratio(graph: Graph, embedding: Layer, measured: Measured, columns: Columns) -> None:
    """std of the token embedding, stored factors counted, over that of the positional embedding it is added to."""
    table = graph.parameter_of(embedding, Role.EMBEDDING)
    if table is None or table.name not in measured:
        return
    factor = 1.0
    came_from = set(embedding.outputs)
    for following in _followers(graph, embedding):
        if following.op in _SCALING and "scalar" in following.attributes:
            factor *= _scalar(following)
        elif following.op is Op.ADD:
            position = _position_beside(graph, following, came_from)
            if position is not None:
                other = measured.get(position.name)
                if other is not None and other.statistics.std > 0.0 and not other.statistics.non_finite_count:
                    std = measured[table.name].statistics.std
                    columns["parameter.position_scale_ratio"][table.name] = abs(factor) * std / other.statistics.std
                return
        elif following.op not in SHAPING and following.op not in DROPOUTS:
            return
        came_from = set(following.outputs)


def _position_beside(graph: Graph, adding: Layer, came_from: set[str]) -> Parameter | None:
    """The positional parameter that an Add adds: its own, or that of an embedding on its other side."""
    own = graph.parameter_of(adding, Role.POSITION)
    if own is not None:
        return own
    waiting = [name for name in adding.inputs if name not in came_from]
    for _ in range(_FORWARD):
        if not waiting:
            return None
        value = graph.values.get(waiting.pop(0))
        if value is None or value.producer is None:
            continue
        layer = graph.layers[value.producer]
        position = graph.parameter_of(layer, Role.POSITION)
        if position is not None:
            return position
        if layer.op in SHAPING or layer.op in DROPOUTS or layer.op is Op.ADD:
            waiting.extend(layer.inputs)
    return None
