"""Facts of layers that follow from their weights: gain, gates, recurrence, running statistics. Imports ir, measure.facts and sibling modules."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from trainaudit.ir.graph import ON_META, Graph, Layer, Parameter, Role
from trainaudit.ir.ops import ACTIVATIONS, DROPOUTS, RECURRENT, SHAPING, WEIGHTED, Op
from trainaudit.measure.facts import Columns, FactValue, Unmeasured
from trainaudit.measure.static.gain import plain_gain, wanted_gain
from trainaudit.measure.static.initialization import MeasuredParameter
from trainaudit.measure.static.initializer_words import initializer_words
from trainaudit.measure.static.recurrent import spectral_radius
from trainaudit.measure.static.written_recurrence import has_four_gates, is_plain, written_cells

Measured = Mapping[str, MeasuredParameter]

_OPS = {op.value: op for op in Op}
_TOLD = WEIGHTED | {Op.BATCH_NORM}
_GAINED = frozenset({Op.LINEAR, Op.CONV, Op.CONV_TRANSPOSE})
_MAIN_ROLES = (Role.WEIGHT.value, Role.INPUT_WEIGHT.value, Role.EMBEDDING.value, Role.POSITION.value)
_GAIN_FACTS = (
    "layer.wanted_gain", "layer.weight_scheme", "layer.initializer", "layer.gain", "layer.gain_ratio", "layer.feeding_gain",
)  # fmt: skip
_COLLAPSED_SCALE = 1e-3
_COLLAPSED_VARIANCE = 1e-8
_UNTOLD_GATES = Unmeasured("the recurrence is written out step by step, where the gates are not told apart")
_FORGET_GATE = 2
"""ONNX orders an LSTM's gates input, output, forget, cell."""


def measure_layer_weights(
    graph: Graph, structure: Columns, measured: Measured, states: Mapping[str, str], columns: Columns
) -> None:
    """Gains and what else one layer's own weights say. Follows an activation function in the graph where `structure` does not name it."""
    found: Columns = {fact: {} for fact in _GAIN_FACTS}
    words = structure.get("layer.activation", {})
    told: dict[str, tuple[FactValue, ...]] = {}
    for layer in [layer for layer in graph.layers if layer.op in _TOLD]:
        op = layer.op
        if op in WEIGHTED:
            weight = main_weight(graph, layer)
            if weight is not None:
                if weight.name not in told:
                    told[weight.name] = _told_by_weight(weight, measured, states)
                _gained(graph, layer, words.get(layer.name), told[weight.name], states.get(weight.name), found)
                if op in RECURRENT and weight.name in measured:
                    _recurrent(graph, layer, measured, columns)
        else:
            _batch_norm(graph, layer, measured, columns)
    for fact, column in found.items():
        if column:
            columns[fact].update(column)
    for layer, weight in written_cells(graph, structure.get("layer.role", {})):
        if is_plain(graph, weight):
            _spectral_radius(layer, weight, measured, columns)
        elif has_four_gates(graph, layer):
            columns["layer.forget_gate_bias"][layer.name] = _UNTOLD_GATES


def _told_by_weight(weight: Parameter, measured: Measured, states: Mapping[str, str]) -> tuple[FactValue, ...]:
    """Scheme, initializer in words and, where the fan-in is known, gain of the layers that a weight belongs to: many may share it."""
    one = measured.get(weight.name)
    if one is None:
        return (Unmeasured(unread_reason(weight)),) * 3
    scheme = "trained" if states.get(weight.name) == "trained" else one.identity.scheme
    told = scheme, initializer_words(scheme, one.statistics.std)
    return (*told, one.statistics.std * math.sqrt(weight.fan_in)) if weight.fan_in else told


def _gained(
    graph: Graph, layer: Layer, word: FactValue | None, told: tuple[FactValue, ...], state: str | None, found: Columns
) -> None:
    name = layer.name
    following = None if word == "none" else following_activation(graph, layer)
    activation: str = following.op if following is not None else "none"
    if isinstance(word, str) and word != activation:
        following, activation = None, word
    wanted = None
    if layer.op in _GAINED:
        if following is None or not following.attributes:
            wanted = plain_gain(_OPS.get(activation))
        else:
            wanted = wanted_gain(_OPS.get(activation), following.attributes)
        if wanted is not None:
            found["layer.wanted_gain"][name] = wanted
    found["layer.weight_scheme"][name], found["layer.initializer"][name] = told[:2]
    gain = told[2] if len(told) > 2 else None
    if isinstance(gain, Unmeasured):
        found["layer.gain"][name] = found["layer.gain_ratio"][name] = gain
    elif isinstance(gain, float) and layer.op is not Op.EMBEDDING:
        found["layer.gain"][name] = gain
        if wanted:
            found["layer.gain_ratio"][name] = gain / wanted
        if following is not None and state == "fresh":
            found["layer.feeding_gain"][following.name] = gain


def _recurrent(graph: Graph, layer: Layer, measured: Measured, columns: Columns) -> None:
    if layer.op is Op.LSTM:
        _forget_gate(graph, layer, measured, columns)
    if layer.op is Op.RNN:
        recurrent = graph.parameter_of(layer, Role.RECURRENT_WEIGHT)
        if recurrent is not None and _is_square(recurrent):
            _spectral_radius(layer, recurrent, measured, columns)


def _spectral_radius(layer: Layer, recurrent: Parameter, measured: Measured, columns: Columns) -> None:
    """Of the worst direction; `recurrent` holds one or more square matrices."""
    name, fact = layer.name, "layer.recurrent_spectral_radius"
    if recurrent.name not in measured:
        columns[fact][name] = Unmeasured(unread_reason(recurrent))
    elif measured[recurrent.name].statistics.non_finite_count:
        columns[fact][name] = Unmeasured("the recurrent weight is not finite")
    else:
        hidden = recurrent.shape[-1]
        matrices = np.asarray(recurrent.data.read(), np.float64).reshape(-1, hidden, hidden)
        columns[fact][name] = max(spectral_radius(m) for m in matrices)


def _is_square(recurrent: Parameter) -> bool:
    """One or more square matrices, not empty."""
    return recurrent.size > 0 and len(recurrent.shape) > 1 and recurrent.size % recurrent.shape[-1] ** 2 == 0


def unread_reason(parameter: Parameter) -> str:
    """Why a parameter has no measured values."""
    if parameter.generated == ON_META:
        return "the model is on the meta device, where tensors have no values"
    if parameter.generated:
        return f"the graph makes these values itself ({parameter.generated}); the file holds no weights"
    if parameter.quantized:
        return "the weights are stored quantized"
    return f"the weights are stored as {parameter.data.dtype}"


def main_weight(graph: Graph, layer: Layer) -> Parameter | None:
    """The matrix, kernel or table of a weighted layer; of a recurrent layer what it multiplies its input by."""
    for role in _MAIN_ROLES:
        name = layer.parameters.get(role)
        if name is not None:
            return graph.parameters[name]
    return None


def following_activation(graph: Graph, layer: Layer) -> Layer | None:
    """The activation function that alone consumes the layer's output, behind nothing but reshapes, casts and dropout."""
    current = layer
    for _ in range(16):
        if not current.outputs:
            return None
        value = graph.values.get(current.outputs[0])
        if value is None or len(value.consumers) != 1 or value.name in graph.outputs:
            return None
        current = graph.layers[value.consumers[0]]
        if current.op in ACTIVATIONS:
            return current
        if current.op not in SHAPING and current.op not in DROPOUTS:
            return None
    return None


def _forget_gate(graph: Graph, layer: Layer, measured: Measured, columns: Columns) -> None:
    bias = graph.parameter_of(layer, Role.BIAS)
    if bias is None:
        return
    if bias.name not in measured:
        columns["layer.forget_gate_bias"][layer.name] = Unmeasured(unread_reason(bias))
        return
    values = np.asarray(bias.data.read(), np.float64)
    hidden = values.shape[-1] // 8 if values.ndim else 0
    if hidden == 0 or values.size == 0 or values.shape[-1] != 8 * hidden:
        return
    if measured[bias.name].statistics.non_finite_count:
        columns["layer.forget_gate_bias"][layer.name] = Unmeasured("the bias is not finite")
        return
    gates = values.reshape(-1, 2, 4, hidden)
    columns["layer.forget_gate_bias"][layer.name] = float(gates.sum(axis=1)[:, _FORGET_GATE].mean())


def _batch_norm(graph: Graph, layer: Layer, measured: Measured, columns: Columns) -> None:
    def values(role: Role) -> MeasuredParameter | None:
        parameter = graph.parameter_of(layer, role)
        one = measured.get(parameter.name) if parameter is not None else None
        return one if one is not None and one.statistics.size and not one.statistics.non_finite_count else None

    mean, variance, scale = values(Role.RUNNING_MEAN), values(Role.RUNNING_VARIANCE), values(Role.SCALE)
    if mean is not None:
        columns["layer.running_mean_absmax"][layer.name] = mean.statistics.absmax
    if variance is not None:
        columns["layer.running_variance_deviation"][layer.name] = max(
            abs(variance.statistics.maximum - 1.0), abs(variance.statistics.minimum - 1.0)
        )
    if scale is None and variance is None:
        return
    collapsed: npt.NDArray[np.bool_] | None = None
    if scale is not None and not scale.statistics.is_constant:
        magnitude = np.abs(_vector(scale))
        collapsed = magnitude < _COLLAPSED_SCALE * float(np.sort(magnitude)[magnitude.size // 2])
    elif scale is not None:
        collapsed = np.zeros(scale.statistics.size, np.bool_)
    if variance is not None:
        small = _vector(variance) < _COLLAPSED_VARIANCE
        collapsed = small if collapsed is None or collapsed.size != small.size else collapsed | small
    if collapsed is not None:
        columns["layer.collapsed_channel_share"][layer.name] = float(collapsed.mean())


def _vector(one: MeasuredParameter) -> npt.NDArray[np.float64]:
    """The values of a vector that the pass kept whole, else read again."""
    if one.statistics.is_whole:
        return one.statistics.sample.reshape(-1).astype(np.float64)
    return np.asarray(one.parameter.data.read(), np.float64).reshape(-1)
