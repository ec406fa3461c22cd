"""Predicts the signal and the gradient of every layer from the graph and its weights, without running the model. numpy only.

One pass forward in the order of the layers, one pass back; each op's arithmetic is a rule (see `rule.py`), and what no rule covers ends the
prediction on its path.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from trainaudit.ir.graph import Graph, Layer, Value
from trainaudit.ir.ops import Op
from trainaudit.measure.signal import token_stream
from trainaudit.measure.signal.borders import mixed
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Prediction, Signal
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.sources import stored_values
from trainaudit.measure.signal.table import rules_for
from trainaudit.measure.signal.weights import ASSUMED, BUDGET, Model, model_of

_ONE: Floats = np.ones(1)
_ONE.setflags(write=False)
_ZERO: Floats = np.zeros(1)
_LIMIT = 1e250
"""A second moment beyond this is no number to reckon with: float32 ends at 1e38."""


def predict(graph: Graph, *, budget: int = BUDGET) -> Prediction:
    """Signals forward and gradients backward, in training form: BatchNorm normalizes by the batch, dropout drops. See `Prediction` for what
    is assumed of inputs and loss. At most `budget` weights are read one by one. Raises nothing of its own for a graph that keeps the invariants."""
    model = model_of(graph, budget)
    rules = rules_for({layer.op for layer in graph.layers})
    with np.errstate(all="ignore"):
        tokens: dict[str, Signal] = {}
        signals, uncovered = _forward(model, rules, tokens)
        gradients, parameters, unknown = _backward(model, rules, signals, tokens)
    uncovered.update({name: reason for name, reason in unknown.items() if name not in uncovered})
    return Prediction(signals, gradients, parameters, uncovered)


# --- forward -------------------------------------------------------------------------------------------------------------


def _forward(
    model: Model, rules: Mapping[Op, Rule], tokens: dict[str, Signal]
) -> tuple[dict[str, Signal], dict[str, str]]:
    graph = model.graph
    signals: dict[str, Signal] = {}
    for name in graph.inputs:
        signal = _input_signal(model, name)
        if signal is not None:
            signals[name] = signal
    uncovered: dict[str, str] = {}
    explained: set[str] = set()
    """Values that are not predicted, and a layer at or above them says why."""
    for layer in graph.layers:
        names, rule = layer.inputs, rules.get(layer.op)
        if names and names[0] in explained and rule is not None and rule.needs != 0:
            explained.update(layer.outputs)
            continue
        reason = _layer_forward(model, layer, rule, signals, explained)
        if reason is None:
            if tokens or layer.op is Op.CONCAT:
                token_stream.follow(model, layer, rules[layer.op], signals, tokens)
            continue
        if explained.isdisjoint(layer.inputs):
            # what depends on no activation is named where it meets one
            if not any(name in signals for name in layer.inputs) or not _is_float_result(graph, layer):
                continue
            uncovered[layer.name] = reason
        explained.update(layer.outputs)
    return signals, uncovered


def _layer_forward(
    model: Model, layer: Layer, rule: Rule | None, signals: dict[str, Signal], explained: set[str]
) -> str | None:
    """Adds the signals of a layer's outputs; the reason where they are not known, "" where it is explained above."""
    if rule is None:
        return f"no rule for {layer.raw_op}"
    for name in layer.inputs if rule.needs is None else layer.inputs[: rule.needs]:
        if name not in signals:
            if name in explained:
                return ""
            if layer.parameters and signals.keys().isdisjoint(layer.inputs):
                return _stored_forward(model, layer, signals)
            return f"its input is not known: {_maker(model.graph, name)}"
    try:
        found = rule.forward(model, layer, [signals.get(name) for name in layer.inputs])  # type: ignore[misc]
    except NotCovered as reason:
        return str(reason)
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
        return broken(error)
    for name, signal in zip(layer.outputs, found, strict=False):
        if not _is_bounded(signal):
            return "the predicted signal leaves the range of numbers"
        signals[name] = signal
    return None


def _stored_forward(model: Model, layer: Layer, signals: dict[str, Signal]) -> str | None:
    try:
        found = stored_values(model, layer)
    except NotCovered as reason:
        return str(reason)
    if found is None:
        return "it depends on no activation"
    signals.update(zip(layer.outputs, found, strict=True))
    return None


def _maker(graph: Graph, name: str) -> str:
    """Where a value comes from, in words."""
    value = graph.values.get(name)
    if value is None or value.producer is None:
        return name
    layer = graph.layers[value.producer]
    return f"{layer.name} ({layer.op.value})"


def broken(error: Exception) -> str:
    """A rule that breaks down on one layer ends the prediction there, not the whole of it."""
    return f"its rule broke down ({type(error).__name__}: {error})"


def _input_signal(model: Model, name: str) -> Signal | None:
    """Standard normal and white. Which axis counts units is not known yet: all are alike."""
    value = model.graph.values.get(name)
    if value is None or value.shape is None or not _is_float(value):
        return None
    rank = len(value.shape)
    sizes = [size if isinstance(size, int) and size > 0 else ASSUMED for size in value.shape]
    unit = 1 if rank >= 4 else rank - 1
    positions = math.prod(size for axis, size in enumerate(sizes) if axis not in (0, unit))
    return Signal(_ZERO, _ONE, NONE, max(1, positions), (unit - rank,) if rank else (), -rank if rank > 1 else None)


def _is_float(value: Value) -> bool:
    return value.dtype is None or "float" in value.dtype


def _is_float_result(graph: Graph, layer: Layer) -> bool:
    return any((value := graph.values.get(name)) is not None and _is_float(value) for name in layer.outputs)


def _is_bounded(signal: Signal) -> bool:
    mean, own, shared = signal.mean, signal.own, signal.shared
    variance = float(np.add.reduce(own)) + (0.0 if shared is NONE else float(np.add.reduce(shared)))
    return float(mean @ mean) < _LIMIT and 0.0 <= variance < _LIMIT


# --- backward ------------------------------------------------------------------------------------------------------------


def _backward(
    model: Model, rules: Mapping[Op, Rule], signals: dict[str, Signal], tokens: dict[str, Signal]
) -> tuple[dict[str, float], dict[str, float], dict[str, str]]:
    graph = model.graph
    gradients: dict[str, Gradient] = {}
    by_token: dict[str, Gradient] = {}
    parameters: dict[str, float] = {}
    reasons: dict[str, str] = {}
    start = _start(graph, signals)
    if start is None:
        return {}, parameters, reasons
    gradients[start] = Gradient(_ONE)
    lost: set[str] = set()
    """Values whose gradient is not known: some of it comes through a layer that is not covered."""
    lost_parameters: set[str] = set()
    for layer in reversed(graph.layers):
        outputs = layer.outputs
        if tokens and layer.op in rules and not any(name in lost for name in outputs):
            flow = token_stream.hand_back(model, layer, rules[layer.op], signals, tokens, gradients, by_token)
            if flow is not None:
                _add(layer, flow, gradients, parameters)
                if tokens.keys().isdisjoint(outputs):
                    continue
        arriving = [gradients.get(name) for name in outputs]
        if not any(name in lost for name in outputs):
            if all(gradient is None for gradient in arriving):
                continue
            rule = rules[layer.op]
            if rule.backward is None or (layer.inputs and rule.needs != 0 and signals.keys().isdisjoint(layer.inputs)):
                lost_parameters.update(layer.parameters.values())
                continue
            inputs = [signals.get(name) for name in layer.inputs]
            try:
                _hand_back(
                    model, layer, rule, inputs, [signals.get(name) for name in outputs], arriving, gradients, parameters
                )
                lost.update(name for name in layer.inputs if name not in signals and _carries_gradient(graph, name))
                continue
            except NotCovered as reason:
                reasons.setdefault(layer.name, f"backward: {reason}")
            except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
                reasons.setdefault(layer.name, f"backward: {broken(error)}")
        lost.update(name for name in layer.inputs if _carries_gradient(graph, name))
        lost_parameters.update(layer.parameters.values())
    found = {name: gradient.rms for name, gradient in gradients.items()}
    for name, token in by_token.items():
        found[name] = token_stream.with_token(gradients.get(name), token, signals[name].positions)
    for name in lost:
        found.pop(name, None)
    for name in lost_parameters:
        parameters.pop(name, None)
    return found, parameters, reasons


def _hand_back(
    model: Model, layer: Layer, rule: Rule, inputs: Sequence[Signal | None], outputs: Sequence[Signal | None],
    arriving: Sequence[Gradient | None], gradients: dict[str, Gradient], parameters: dict[str, float],
) -> None:  # fmt: skip
    assert rule.backward is not None
    _add(layer, rule.backward(model, layer, inputs, outputs, arriving), gradients, parameters)  # type: ignore[arg-type]


def _add(layer: Layer, flow: Backflow, gradients: dict[str, Gradient], parameters: dict[str, float]) -> None:
    for name, gradient in zip(layer.inputs, flow.inputs, strict=False):
        if gradient is None:
            continue
        total = float(gradient.own.max()) + float(gradient.shared.max())
        if not 0.0 <= total < _LIMIT:
            raise NotCovered("the predicted gradient leaves the range of numbers")
        known = gradients.get(name)
        gradients[name] = gradient if known is None else _sum(known, gradient)
    for name, square in flow.parameters.items():
        parameters[name] = math.sqrt(parameters.get(name, 0.0) ** 2 + max(square, 0.0))


def _sum(first: Gradient, second: Gradient) -> Gradient:
    """Gradients from several consumers are independent."""
    shared = (
        first.shared
        if second.shared is NONE
        else second.shared
        if first.shared is NONE
        else first.shared + second.shared
    )
    own = first.own + second.own
    marks = first.silent + second.silent + first.silent_units + second.silent_units + first.chosen_of + second.chosen_of
    if marks == 2.0 and first.profile is None and second.profile is None:
        return Gradient(own, shared)
    one, other = float(first.total.mean()), float(second.total.mean())
    weight = one / max(one + other, 1e-300)
    if first.chosen_of > 1 or second.chosen_of == 1:
        chosen_of, chosen_share = first.chosen_of, weight * first.chosen_share
    else:
        chosen_of, chosen_share = second.chosen_of, (1.0 - weight) * second.chosen_share
    silent = weight * first.silent + (1.0 - weight) * second.silent
    silent_units = weight * first.silent_units + (1.0 - weight) * second.silent_units
    profile = mixed(first.profile, second.profile, weight)
    return Gradient(own, shared, chosen_of, chosen_share, silent, silent_units, profile)


def _start(graph: Graph, signals: dict[str, Signal]) -> str | None:
    """The primary output: the first that is predicted; where it is a loss, what the loss is taken of."""
    for name in graph.outputs:
        value = graph.values.get(name)
        if value is None or not _is_float(value):
            continue
        maker = None if value.producer is None else graph.layers[value.producer]
        if maker is not None and maker.op is Op.LOSS and maker.inputs:
            name = maker.inputs[0]
        return name if name in signals else None
    return None


def _carries_gradient(graph: Graph, name: str) -> bool:
    value = graph.values.get(name)
    return value is not None and _is_float(value)
