"""Facts of layers and of the whole model that are read off the predicted signal. May import `ir`, `measure.facts` and siblings.

Everything here is about the model as it is initialized: of weights that the graph makes itself nothing can be predicted, and where a
normalization was folded into the weights at export, the signal in training is not the one in the file.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import compress, pairwise
from typing import TYPE_CHECKING

import numpy as np

from trainaudit.ir.graph import Graph, Layer, Role
from trainaudit.ir.ops import NORMALIZATIONS, RECTIFIERS, SHAPING, WEIGHTED, Op
from trainaudit.measure.catalog import CATALOG, SIGNAL
from trainaudit.measure.facts import Columns, FactValue, Subject, Unmeasured
from trainaudit.measure.signal.curves import Floats
from trainaudit.measure.signal.readings import GONE, Readings, first_largest, readings
from trainaudit.measure.signal.segment_facts import measure_segments
from trainaudit.measure.signal.segments import Layout, find_segments
from trainaudit.measure.static.flow import is_float
from trainaudit.measure.static.index import Index

if TYPE_CHECKING:
    from trainaudit.measure.signal.prediction import Prediction, Signal

_BESIDE = frozenset({"gate", "modulation", "auxiliary", "embedding", "attention-query", "attention-key"})
"""Roles of weighted layers whose gradients do not tell how far the gradient reaches: queries and keys get little where attention starts even."""
_SATURATED = {Op.TANH: math.atanh(0.97), Op.SIGMOID: math.log(0.97 / 0.03), Op.HARD_TANH: 1.0, Op.HARD_SIGMOID: 3.0}
"""Input beyond which the function counts as saturated: |tanh| > 0.97 (makemore), sigmoid outside [0.03, 0.97]; the hard ones where they are flat."""
_RARE = 3.0902
"""Standard deviations: a standard normal lies above it with probability 1e-3."""
_WEIGHT, _INPUT_WEIGHT = Role.WEIGHT.value, Role.INPUT_WEIGHT.value
_UNITS = 256
"""Units of one layer whose tail probabilities are averaged."""

Measured = tuple[Mapping[str, Mapping[str, Subject]], Columns]


def measure_signal(graph: Graph, index: Index, structure: Columns) -> Measured:
    """The segments as subjects, and every fact of the catalog whose source is the signal. `structure` holds the facts measured so far."""
    reason = _unpredictable(graph, structure)
    if reason is not None:
        return not_predicted(structure, reason)
    from trainaudit.measure.signal.propagation import predict

    prediction = predict(graph)
    read = readings(graph, prediction)
    layout = find_segments(index, structure.get("layer.role", {}))
    subjects, columns = measure_segments(index, layout.segments, structure, read)
    columns |= _layer_facts(index, structure, prediction, read)
    columns |= _stack_facts(index, layout, read)
    columns |= _model_facts(index, layout, structure, read)
    return {"segment": subjects}, columns


def not_predicted(structure: Columns, reason: Unmeasured) -> Measured:
    """One segment stands for those that are not known, so that rules on segments are not run instead of not applicable."""
    untold = Subject("segment", "(not predicted)", None, 0)
    weighted = structure.get("layer.width", {})
    ids = {"segment": [untold.id], "model": ["model"], "layer": list(weighted)}
    columns: Columns = {spec.name: dict.fromkeys(ids[spec.kind], reason) for spec in CATALOG if spec.source == SIGNAL}
    return {"segment": {untold.id: untold}}, columns


def _unpredictable(graph: Graph, structure: Columns) -> Unmeasured | None:
    if structure.get("model.weights_state", {}).get("model") == "generated":
        return Unmeasured("the weights have no stored values, so that there is no initialization to predict from")
    folded = len(graph.folded_normalizations)
    if folded:
        return Unmeasured(
            f"the exporter folded {folded} normalization{'s' if folded > 1 else ''} into the weights, so that the file does not tell how the "
            "signal flows in training: export the training form"
        )
    return None


def _layer_facts(index: Index, structure: Columns, prediction: Prediction, read: Readings) -> Columns:
    """Spread, saturation and silence, layer by layer."""
    std: dict[str, FactValue] = {}
    out_rms: dict[str, FactValue] = {}
    backward: dict[str, FactValue] = {}
    input_rms: dict[str, FactValue] = {}
    variation: dict[str, FactValue] = {}
    columns: Columns = {
        "layer.predicted_std": std, "layer.predicted_rms": out_rms, "layer.predicted_backward_ratio": backward, "layer.predicted_input_rms": input_rms, "layer.predicted_input_variation": variation,
    }  # fmt: skip
    roles, activations = structure.get("layer.role", {}), structure.get("layer.activation", {})
    uses = structure.get("layer.softmax_use", {})
    gradients = (read.gradient(index.layers[i].outputs[0]) for i in reversed(index.of(WEIGHTED)))
    last = next((gradient for gradient in gradients if gradient), None)
    signals, missing = prediction.signals, read.missing
    for i in index.of(WEIGHTED):
        layer = index.layers[i]
        name, result = layer.name, layer.outputs[0]
        is_known = result in signals
        std[name] = _or(read.std(result), missing) if is_known else missing
        out_rms[name] = _or(read.rms(result), missing) if is_known else missing
        arriving = read.gradient(result)
        if arriving is None:
            backward[name] = missing
        elif last:
            backward[name] = arriving / last
        if layer.op is Op.EMBEDDING:
            continue
        # a layer without inputs reads a stored state, as a recurrence's first step does
        source = layer.inputs[0] if layer.inputs else ""
        rms, spread = (read.rms(source), read.std(source)) if source in signals else (None, None)
        input_rms[name] = _or(rms, missing)
        if rms is None or spread is None:
            variation[name] = missing
        elif rms > 0.0:
            variation[name] = spread / rms
    head, logits = _logits(index, structure)
    if head >= 0 and roles.get(index.layers[head].name) == "output-head" and not _is_tied(index, index.layers[head]):
        columns["layer.predicted_logit_std"] = {index.layers[head].name: _or(read.std(logits), read.missing)}
    if not _RECTIFIERS.isdisjoint(activations.values()):
        columns |= _silences(index, activations, prediction, read)
    for i in index.of(_SATURATED.keys()):
        layer = index.layers[i]
        if uses.get(layer.name, "hidden") == "hidden" and not layer.scope:
            signal = prediction.signals.get(layer.inputs[0])
            share = read.missing if signal is None else _beyond(signal, _SATURATED[layer.op])
            columns.setdefault("layer.predicted_saturated_share", {})[layer.name] = share
            columns.setdefault("layer.predicted_input_std", {})[layer.name] = _or(
                read.std(layer.inputs[0]), read.missing
            )
    return columns


_RECTIFIERS = frozenset(op.value for op in RECTIFIERS)


def _silences(index: Index, activations: Mapping[str, FactValue], prediction: Prediction, read: Readings) -> Columns:
    """Of layers before a rectifier: the share of units that fire with probability < 1e-3, the part of it that would fire without their bias, and
    the part of that whose bias would weigh as much against a standardised input: where the signal has collapsed, any bias keeps units shut, and is
    no cause."""
    dead: dict[str, FactValue] = {}
    by_bias: dict[str, FactValue] = {}
    strong: dict[str, FactValue] = {}
    for i in index.of(WEIGHTED | NORMALIZATIONS):
        layer = index.layers[i]
        name = layer.name
        if activations.get(name) not in _RECTIFIERS:
            continue
        signal = prediction.signals.get(layer.outputs[0])
        if signal is None:
            dead[name] = by_bias[name] = strong[name] = read.missing
        else:
            dead[name], by_bias[name], strong[name] = _silence(index, layer, signal)
    return {
        "layer.predicted_dead_share": dead, "layer.rarely_firing_share": by_bias, "layer.shut_by_bias_share": strong,
    }  # fmt: skip


def _silence(index: Index, layer: Layer, signal: Signal) -> tuple[float, float, float]:
    """The three shares of one layer."""
    reach = _RARE * np.sqrt(signal.variance)
    is_dead = signal.mean < -reach
    share = int(np.count_nonzero(is_dead)) / is_dead.size
    bias = index.graph.parameter_of(layer, Role.BIAS) or index.graph.parameter_of(layer, Role.SHIFT)
    if share > 0.0 and bias is not None and not bias.generated and not bias.quantized:
        values = np.asarray(bias.data.read(), np.float64).reshape(-1)
        if values.size == signal.mean.size or 1 in (values.size, signal.mean.size):
            held = is_dead & (signal.mean - values >= -reach)
            if held.any():
                strong = held & (values < -_response(index, layer, values.size))
                return share, float(np.mean(held)), float(np.mean(strong))
    return share, 0.0, 0.0


def _response(index: Index, layer: Layer, units: int) -> Floats | float:
    """The standard deviation of each unit's pre-activation on a standardised input: the norm of its weights. 0 for a normalization, whose
    own input is standardised whatever comes in, and where the weights cannot be read."""
    weight = index.graph.parameter_of(layer, Role.WEIGHT)
    if weight is None or weight.unit_axis is None or weight.generated or weight.quantized:
        return 0.0
    rows = np.moveaxis(np.asarray(weight.data.read(), np.float64), weight.unit_axis, 0)
    norms = np.linalg.norm(rows.reshape(len(rows), -1), axis=1)
    return norms if norms.size == units else float(np.median(norms))


def _beyond(signal: Signal, limit: float) -> float:
    """P(|x| > limit) over units, each Gaussian with its own mean and variance; of many units evenly spaced ones are looked at."""
    mean, std = np.broadcast_arrays(signal.mean, np.sqrt(signal.variance))
    step = max(1, mean.size // _UNITS)
    total = 0.0
    means, stds = mean[::step].tolist(), std[::step].tolist()
    for m, s in zip(means, stds, strict=True):
        if s > 0.0:
            root = s * math.sqrt(2.0)
            total += 1.0 - 0.5 * (math.erf((limit - m) / root) + math.erf((limit + m) / root))
        else:
            total += abs(m) > limit
    return total / len(means)


def _is_tied(index: Index, layer: Layer) -> bool:
    return any(len(index.graph.parameters[name].owners) > 1 for name in layer.parameters.values())


def _logits(index: Index, structure: Columns) -> tuple[int, str]:
    """The weighted layer that gives the primary output, and the value behind it that enters its last softmax, sigmoid or average over positions;
    (-1, "") where other layers stand between."""
    primary = structure.get("output.is_primary", {})
    for name in index.graph.outputs:
        if primary.get(name) is not True:
            continue
        value = index.graph.values.get(name)
        current = -1 if value is None or value.producer is None else value.producer
        while current >= 0 and index.ops[current] not in WEIGHTED:
            op = index.ops[current]
            if op in _OUTPUT_FUNCTIONS:
                name = index.layers[current].inputs[0]
            elif op not in SHAPING and op is not Op.RELU:
                return -1, ""
            current = index.sources[current][0] if index.sources[current] else -1
        return current, name
    return -1, ""


_OUTPUT_FUNCTIONS = frozenset({
    Op.SOFTMAX, Op.LOG_SOFTMAX, Op.SIGMOID, Op.LOG_SIGMOID, Op.DROPOUT, Op.GLOBAL_AVERAGE_POOL, Op.AVERAGE_POOL, Op.REDUCE_MEAN,
})  # fmt: skip


def _stack_facts(index: Index, layout: Layout, read: Readings) -> Columns:
    """How much the second moment grows over a stack of residual sums without normalization; it stands at the layers that end the branches."""
    growth: dict[str, FactValue] = {}
    count: dict[str, FactValue] = {}
    for stack in layout.stacks:
        last = stack.joins[-1]
        users = index.uses[last]
        if len(users) == 1 and index.ops[users[0]] in NORMALIZATIONS:
            continue
        before, after = read.rms(stack.start), read.rms(index.layers[last].outputs[0])
        for i in stack.ends:
            name = index.layers[i].name
            count[name] = len(stack.joins)
            if before is None or after is None:
                growth[name] = read.missing
            elif before > 0.0:
                growth[name] = (after / before) ** 2
    return {"layer.predicted_residual_growth": growth, "layer.residual_count": count}


def _model_facts(index: Index, layout: Layout, structure: Columns, read: Readings) -> Columns:
    prediction = read.prediction
    depends = list(compress(index.layers, index.depends))
    signals = prediction.signals
    rest = [layer for layer in depends if not layer.outputs or layer.outputs[0] not in signals]
    covered, open_ones = len(depends) - len(rest), _float_results(index.graph, rest)
    columns: Columns = {
        "model.signal_coverage": {"model": covered / (covered + open_ones) if covered else 1.0 - bool(open_ones)},
        "model.plain_depth": {"model": layout.plain_depth},
        "model.longest_segment": {"model": max((len(segment.chain) for segment in layout.segments), default=0)},
        "model.post_norm_count": {"model": len(layout.post_normalized)},
    }
    if len(layout.post_normalized) > 1:
        first, last = (index.layers[layout.post_normalized[k]].outputs[0] for k in (0, -1))
        near, far = read.gradient(first), read.gradient(last)
        if near is None or far is None:
            columns["model.predicted_post_norm_ratio"] = {"model": read.missing}
        elif far > 0.0:
            columns["model.predicted_post_norm_ratio"] = {"model": near / far}
    columns |= _reach(index, structure, read)
    return columns


def _float_results(graph: Graph, layers: Sequence[Layer]) -> int:
    """How many of the layers give floating-point values."""
    results = [graph.values.get(layer.outputs[0]) for layer in layers if layer.outputs]
    types = Counter([value.dtype for value in results if value is not None])
    return sum(count for dtype, count in types.items() if is_float(dtype))


def _reach(index: Index, structure: Columns, read: Readings) -> Columns:
    """How far the gradient reaches: of each weighted layer against the last trainable one, and end to end at the layer where the change starts."""
    roles = structure.get("layer.role", {})
    found: list[tuple[int, int, float]] = []
    relative: dict[str, FactValue] = {}
    columns: Columns = {"layer.predicted_gradient_ratio": relative}
    for i in index.of(WEIGHTED):
        layer = index.layers[i]
        if roles.get(layer.name) in _BESIDE or layer.op is Op.EMBEDDING:
            continue
        name = layer.parameters.get(_WEIGHT) or layer.parameters.get(_INPUT_WEIGHT)
        parameter = None if name is None else index.graph.parameters[name]
        if parameter is None or not parameter.trainable or len(parameter.owners) > 1:
            continue
        gradient = read.prediction.parameter_gradients.get(parameter.name)
        if gradient is None or not math.isfinite(gradient):
            relative[layer.name] = read.missing
            continue
        found.append((index.depth[i], i, gradient))
    if len(found) < 2 or read.missing in relative.values():
        if relative:
            columns["model.predicted_gradient_ratio"] = {"model": read.missing}
            relative |= {index.layers[i].name: read.missing for _, i, _ in found}
        return columns
    first, last = min(found), max(found, key=lambda one: (one[0], -one[1]))
    if last[2] <= 0.0:
        return columns
    relative |= {index.layers[i].name: gradient / last[2] for _, i, gradient in found}
    ratio = first[2] / last[2]
    least = min(gradient for _, _, gradient in found if gradient > 0.0) / last[2]
    # a zero weight cuts the gradient off; here too little for a double reaches the first layer, at most so much
    is_gone = ratio == 0.0 and least < GONE
    ratio = least if is_gone else ratio
    columns["model.predicted_gradient_ratio"] = {"model": ratio}
    start = first[1] if is_gone else _start(index, read, found, ratio)
    columns["layer.predicted_end_to_end_ratio"] = {index.layers[start].name: ratio}
    return columns


def _start(index: Index, read: Readings, layers: list[tuple[int, int, float]], ratio: float) -> int:
    """Of the layers, each with its depth and weight gradient, the one where the gradient changes first: at each depth the one that the most
    gradient passes counts. What passes is the weight gradient over the rms of the input: a sum over places, which a pooling only divides among them."""
    widest: dict[int, tuple[float, int]] = {}
    for depth, i, by_weight in layers:
        rms = read.rms(index.layers[i].inputs[0])
        gradient = by_weight / rms if rms else 0.0
        if gradient > widest.get(depth, (0.0, i))[0]:
            widest[depth] = (gradient, i)
    path = [widest[depth] for depth in sorted(widest)]
    if len(path) < 2:
        return min(layers)[1]
    steps = [math.log(above[0] / below[0]) for above, below in pairwise(path)]
    steps = steps if ratio > 1.0 else [-step for step in steps]
    return path[first_largest(steps)][1] if max(steps) > 0.0 else path[0][1]


def _or(value: float | None, missing: Unmeasured) -> FactValue:
    return missing if value is None else value
