"""A class token beside the patches: one position whose scale is its own. Imports ir and sibling modules.

A token that is put before the others (Dosovitskiy et al. 2021, arXiv:2010.11929) starts small where they do not, and often it alone is read in the end:
all of the gradient then flows through the position where every normalization multiplies it most. Its signal and its gradient are therefore
followed beside those of the value as a whole, as a value without positions, from the concatenation to where it is taken out again. Queries see it,
keys and values count it among the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from trainaudit.ir.graph import Layer, Role
from trainaudit.ir.ops import ACTIVATIONS, DROPOUTS, Op
from trainaudit.measure.signal.layout import lay_out, lay_out_gradient
from trainaudit.measure.signal.prediction import NONE, Gradient, NotCovered, Signal
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.weights import Model

_EACH = (
    (ACTIVATIONS - {Op.SOFTMAX, Op.LOG_SOFTMAX, Op.HARDMAX})
    | DROPOUTS
    | {
        Op.LINEAR, Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.NEG, Op.LAYER_NORM, Op.RMS_NORM, Op.IDENTITY, Op.CAST, Op.RESHAPE, Op.TRANSPOSE,
        Op.SQUEEZE, Op.UNSQUEEZE, Op.FLATTEN,
    }
)  # fmt: skip
"""Layers that treat every position alike."""
_PARTS = frozenset({Op.GATHER, Op.SLICE, Op.SPLIT, Op.CONCAT})
"""Layers that do so where they take units apart or join them."""


def follow(model: Model, layer: Layer, rule: Rule, signals: dict[str, Signal], tokens: dict[str, Signal]) -> None:
    """After a layer's rule: adds the tokens of its outputs, from those of its inputs. A token that is taken out is the result."""
    if layer.op is Op.CONCAT:
        token = _put_before(model, layer, signals)
        if token is not None:
            tokens[layer.outputs[0]] = token
            return
    if tokens.keys().isdisjoint(layer.inputs):
        return
    inputs = _inputs(model, layer, signals, tokens)
    if inputs is None:
        return
    try:
        found = rule.forward(model, layer, inputs)  # type: ignore[arg-type]
    except (NotCovered, ArithmeticError, AssertionError, LookupError, TypeError, ValueError):
        return  # the value as a whole is still predicted
    target = signals if _takes_out(model, layer, signals) else tokens
    target.update((name, _alone(signal)) for name, signal in zip(layer.outputs, found, strict=False))


def hand_back(
    model: Model, layer: Layer, rule: Rule, signals: Mapping[str, Signal], tokens: Mapping[str, Signal],
    gradients: Mapping[str, Gradient], by_token: dict[str, Gradient],
) -> Backflow | None:  # fmt: skip
    """What flows back through the token alone: gradients by the inputs as wholes, and by the parameters; those by the inputs' tokens are added to
    `by_token`. None where nothing does. Where a token is taken out, that is all of the layer's flow: no other position has any."""
    if rule.backward is None or tokens.keys().isdisjoint((*layer.inputs, *layer.outputs)):
        return None
    name = layer.outputs[0]
    is_out = not any(output in tokens for output in layer.outputs)
    if is_out and not _takes_out(model, layer, signals):
        return None
    arriving = [gradients.get(name)] if is_out else [by_token.get(output) for output in layer.outputs]
    gradient = arriving[0]
    if all(found is None for found in arriving):
        return None
    if layer.op is Op.CONCAT and layer.inputs[0] not in tokens and gradient is not None:
        source = layer.inputs[0]
        return Backflow([lay_out_gradient(gradient, tokens[name], model.sizes(source), signals[source].axes)])
    inputs = _inputs(model, layer, signals, tokens)
    assert inputs is not None
    outputs = [signals[name]] if is_out else [tokens[output] for output in layer.outputs]
    flow = rule.backward(model, layer, inputs, outputs, arriving)  # type: ignore[arg-type]
    rest: list[Gradient | None] = []
    for slot, (source, found) in enumerate(zip(layer.inputs, flow.inputs, strict=False)):
        is_token = source in tokens and (layer.op is not Op.ATTENTION or slot == 0)
        if found is not None and is_token:
            if is_out:  # the rule tells the mean over the positions
                found = Gradient(found.total * signals[source].positions)
            known = by_token.get(source)
            by_token[source] = found if known is None else Gradient(known.total + found.total)
        rest.append(None if is_token else found)
    return replace(flow, inputs=rest, parameters=_of_one_row(model, flow.parameters, outputs[0]))


def _of_one_row(model: Model, squares: Mapping[str, float], token: Signal) -> dict[str, float]:
    """Of a table that has a row for each position, the token meets one."""
    found = {}
    for name, square in squares.items():
        parameter = model.graph.parameters[name]
        is_table = parameter.role is Role.POSITION and parameter.size > token.mean.size > 1
        found[name] = square * token.mean.size / parameter.size if is_table else square
    return found


def with_token(whole: Gradient | None, token: Gradient, positions: int) -> float:
    """Rms of the gradient by one element of a value, of the gradient by its positions alike and that by its token."""
    square = 0.0 if whole is None else whole.rms**2
    return math.sqrt(square + token.rms**2 / max(1, positions))


def _inputs(
    model: Model, layer: Layer, signals: Mapping[str, Signal], tokens: Mapping[str, Signal]
) -> list[Signal | None] | None:
    """What a layer does to the token alone: each operand's token, or the operand as a value without positions."""
    if layer.op is Op.ATTENTION:
        if layer.inputs[0] not in tokens:
            return None
        return [tokens[layer.inputs[0]], *(signals.get(name) for name in layer.inputs[1:])]
    if layer.op not in _EACH and not (
        layer.op in _PARTS and (_along_units(model, layer, signals) or _takes_out(model, layer, signals))
    ):
        return None
    found: list[Signal | None] = []
    for name in layer.inputs:
        whole = signals.get(name)
        found.append(tokens[name] if name in tokens else None if whole is None else _alone(whole))
    return found


def _alone(x: Signal) -> Signal:
    """One position of a value."""
    own = x.own if x.shared is NONE else x.own + x.shared
    before = None if x.before is None else _alone(x.before)
    return Signal(x.mean, own, NONE, 1, x.axes, x.batch, before, x.curve)


def _put_before(model: Model, layer: Layer, signals: dict[str, Signal]) -> Signal | None:
    """The signal of a first operand that is one position of the result."""
    output = signals.get(layer.outputs[0])
    first = None if not layer.inputs else signals.get(layer.inputs[0])
    sizes, dim = model.sizes(layer.outputs[0]), layer.attributes.get("dim")
    if output is None or first is None or sizes is None or not isinstance(dim, int) or len(layer.inputs) < 2:
        return None
    axis = dim % len(sizes) - len(sizes)
    mine = model.sizes(layer.inputs[0])
    if axis in output.axes or axis == output.batch or mine is None or mine[axis] != 1 or sizes[axis] < 3:
        return None
    if any(size != 1 for at, size in enumerate(mine) if at - len(mine) not in (*output.axes, output.batch)):
        return None
    return _alone(lay_out(first, mine, output.axes))


def _axis(model: Model, layer: Layer) -> int | None:
    """The axis, from the end, that a layer takes apart."""
    sizes = model.sizes(layer.inputs[0])
    dim, axes = layer.attributes.get("dim"), layer.attributes.get("axes")
    if layer.op is Op.SLICE:
        dim = axes[0] if isinstance(axes, tuple) and len(axes) == 1 else None
    return None if sizes is None or not isinstance(dim, int) else dim % len(sizes) - len(sizes)


def _along_units(model: Model, layer: Layer, signals: Mapping[str, Signal]) -> bool:
    axis = _axis(model, layer)
    return axis is not None and all(axis in signals[name].axes for name in layer.inputs if name in signals)


def _takes_out(model: Model, layer: Layer, signals: Mapping[str, Signal]) -> bool:
    """Whether a layer takes the first position out."""
    if layer.op is Op.GATHER:
        is_first = layer.attributes.get("index") == 0
    else:
        sizes, axis = model.sizes(layer.outputs[0]), _axis(model, layer)
        is_first = (
            layer.op is Op.SLICE
            and layer.attributes.get("starts") == (0,)
            and sizes is not None
            and axis is not None
            and sizes[axis] == 1
        )
    return is_first and not _along_units(model, layer, signals)
