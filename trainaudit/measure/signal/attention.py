"""Attention: softmax(scale · q·kᵀ) · v, forward and backward. Imports ir and numpy only.

Scores count as Gaussian over the keys of one query, which they are at random weights: their variance over the keys is τ² = scale² Σ_u E[q_u²] Var(k_u),
where only the part of a key that differs from position to position counts, because the softmax removes the rest. What softmax weights of such
scores do is in `softmax_moments.py`; for small τ it is the uniform mean over the keys (Noci et al. 2022, arXiv:2206.03126; Dong et al. 2021,
arXiv:2103.03404).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Layer, Role
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.layout import full, lay_out, lay_out_gradient
from trainaudit.measure.signal.prediction import NONE, Floats, Gradient, NotCovered, Signal
from trainaudit.measure.signal.rule import Backflow, Rule
from trainaudit.measure.signal.softmax_moments import SoftmaxMoments, causal_moments, softmax_moments
from trainaudit.measure.signal.weights import Model

_MASK = 100.0
"""A bias of the scores beyond this masks."""


@frozen
class _Attention:
    """One attention at its operands. `units` are those of all heads, `heads` their number; `queries` and `keys` meet in one softmax, fewer than there
    are positions where these are cut into windows (Liu et al. 2021); `own` are the moments of the weights of one query,
    `common` those of two queries, whose scores agree in what their vectors share."""

    query: Signal
    key: Signal
    value: Signal
    units: int
    heads: int
    scale: float
    own: SoftmaxMoments
    common: SoftmaxMoments
    dropped: float
    queries: int
    keys: int

    @property
    def window(self) -> float:
        """The share of all positions that one softmax sees."""
        return self.queries / self.query.positions

    def per_head(self, products: Floats) -> float:
        """Mean over the heads of a sum over the units of one head."""
        return float(products.sum()) / self.heads if products.size > 1 else float(products[0]) * self.units / self.heads


def _forward(model: Model, layer: Layer, inputs: Sequence[Signal]) -> list[Signal]:
    attention = _attention(model, layer, inputs)
    value, query = attention.value, attention.query
    # what queries share, they share within one window of keys
    shared = attention.common.squares * attention.window * value.own
    own = np.maximum(attention.own.squares * value.own - shared, 0.0)
    if attention.dropped:
        own = own + attention.dropped * attention.own.squares * value.second
    if value.shared is not NONE:
        shared = shared + value.shared
    if query.positions == 1:
        own, shared = own + shared, NONE
    mixed = Signal(value.mean, own, shared, query.positions, query.axes, query.batch)
    share = np.array([1.0 / attention.keys])
    weights = Signal(share, np.maximum(share * attention.own.squares - share**2, 0.0), positions=query.positions)
    return [mixed, *[weights] * (len(layer.outputs) - 1)]


def _backward(
    model: Model,
    layer: Layer,
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    gradients: Sequence[Gradient | None],
) -> Backflow:
    attention = _attention(model, layer, inputs)
    gradient = gradients[0]
    if gradient is None or any(other is not None for other in gradients[1:]):
        raise NotCovered("its weights are used elsewhere")
    query, key, value = attention.query, attention.key, attention.value
    queries, keys = attention.queries, attention.keys
    own, common = attention.own, attention.common
    # by a weight p_ij: dO_i · v_j, of which the softmax keeps what differs from key to key
    alike = max(attention.per_head(gradient.shared * value.own), 0.0)
    scores = attention.per_head(gradient.total * value.own) * own.jacobian * (1.0 + attention.dropped)
    by_query = attention.scale**2 * key.own * scores
    same_query = attention.scale**2 * key.own * alike * common.jacobian * attention.window
    seen = query.second * scores + (queries - 1.0) * alike * common.jacobian * (query.mean**2 + query.shared)
    by_key = attention.scale**2 * queries / keys * seen
    # the gradients by all keys of a query sum to zero
    against = by_key / (key.positions - 1.0) if key.positions > 1 else NONE
    flows = [
        _gradient(by_query, same_query, query.positions),
        Gradient(by_key + against, -against) if key.positions > 1 else Gradient(by_key),
        _by_value(attention, gradient, queries, keys),
    ]
    back: list[Gradient | None] = []
    for flow, name, signal in zip(flows, layer.inputs, inputs, strict=False):
        used = _by_head(model, name, signal)
        back.append(
            lay_out_gradient(
                _over_heads(flow, used, attention.units // attention.heads), used, model.sizes(name), signal.axes
            )
        )
    position = layer.parameters.get(Role.POSITION.value)
    found = {} if position is None else {position: scores / keys}
    by_bias = Gradient(np.array([scores / keys]))
    return Backflow([*back, *[None if signal is None else by_bias for signal in inputs[3:]]], found)


def _by_value(attention: _Attention, gradient: Gradient, queries: int, keys: int) -> Gradient:
    """dV_j = Σ_i p_ij dO_i: weights of one key over the queries, whose sum over the keys is one for each query."""
    once = queries / keys * attention.own.squares * (1.0 + attention.dropped)
    if keys == 1:
        return Gradient(gradient.own * once, gradient.shared * queries**2)
    positions = attention.value.positions
    inside = (keys - 1.0) / max(positions - 1.0, 1.0)  # of all pairs of positions those in one window
    between = queries * max(1.0 - attention.own.squares, 0.0) / (keys * (keys - 1.0))
    total = once * gradient.own
    shared = inside * between * gradient.own
    if gradient.shared is not NONE:
        sums = once + queries * (queries - 1.0) / keys * attention.common.squares
        total = total + sums * gradient.shared
        pairs = max(queries**2 - keys * sums, 0.0) / (keys * (keys - 1.0))
        shared = shared + (inside * pairs + (1.0 - inside) * (queries / keys) ** 2) * gradient.shared
    return _gradient(total, shared, positions)


def _gradient(total: Floats, shared: Floats, positions: int) -> Gradient:
    if positions == 1:
        return Gradient(total)
    shared = np.clip(shared, -total / (positions - 1.0), total)
    return Gradient(total - shared, shared)


def _attention(model: Model, layer: Layer, inputs: Sequence[Signal]) -> _Attention:
    if len(inputs) < 3:
        raise NotCovered("its queries, keys and values come in one input")
    width = layer.attributes.get("head_dim")
    scale = layer.attributes.get("scale")
    if not isinstance(width, int) or not isinstance(scale, int | float):
        raise NotCovered("the size of its heads or its scale is not known")
    query, key, value = (_by_head(model, name, signal) for name, signal in zip(layer.inputs, inputs[:3], strict=False))
    heads = max(1, max(query.mean.size, key.mean.size) // width)
    units = heads * width
    key, value = _repeated(key, heads, width), _repeated(value, heads, width)
    variance = scale**2 * float(full(key.own * query.second, units).sum()) / heads
    for bias in inputs[3:]:
        if bias is not None and bias.rms < _MASK:
            variance += float(bias.own.mean())
    cap = layer.attributes.get("softcap")
    if isinstance(cap, int | float) and cap:
        variance /= 1.0 + variance / cap**2
    kept = scale**2 * float(full(key.own * (query.mean**2 + query.shared), units).sum()) / heads
    kept = min(kept, variance)
    # what a query has of its own blurs the choice that all queries share: a softmax is the largest of scores with Gumbel noise, whose variance is π²/6
    std, common = math.sqrt(variance), math.sqrt(kept / (1.0 + (variance - kept) * 6.0 / math.pi**2))
    dropout = layer.attributes.get("dropout", 0.0)
    dropped = dropout / (1.0 - dropout) if isinstance(dropout, float) and 0.0 < dropout < 1.0 else 0.0
    queries, keys = (_tokens(model, name, signal) for name, signal in zip(layer.inputs, (query, key), strict=False))
    if layer.attributes.get("is_causal"):
        own, both = causal_moments(keys, std), causal_moments(keys, common, pairs=True)
    else:
        own, both = softmax_moments(keys, std), softmax_moments(keys, common)
    return _Attention(query, key, value, units, heads, float(scale), own, both, dropped, queries, keys)


def _tokens(model: Model, name: str, signal: Signal) -> int:
    """Positions of one softmax: the axis beside the width of a head, at most all positions of a sample."""
    sizes = model.sizes(name)
    if sizes is None or len(sizes) < 3:
        return signal.positions
    beside = sizes[-1 if -2 in signal.axes and -1 not in signal.axes else -2]
    return beside if 1 <= beside < signal.positions else signal.positions


def _repeated(signal: Signal, heads: int, width: int) -> Signal:
    """Keys or values that several heads share (Shazeer 2019; Ainslie et al. 2023), once for each of them."""
    size = signal.mean.size
    if size == 1 or size % width or size >= heads * width or heads * width % size:
        return signal
    parts = [
        part if part.size == 1 else np.repeat(part.reshape(-1, width), heads * width // size, axis=0).reshape(-1)
        for part in (signal.mean, signal.own, signal.shared)
    ]
    shared = NONE if signal.shared is NONE else parts[2]
    return Signal(parts[0], parts[1], shared, signal.positions, signal.axes, signal.batch)


def _over_heads(gradient: Gradient, signal: Signal, width: int) -> Gradient:
    """The gradient by keys or values that several heads share, added over these heads."""
    size, wide = signal.mean.size, gradient.own.size
    if size in (1, wide) or wide % size:
        return gradient
    own, shared = (
        part if part.size == 1 else part.reshape(-1, wide // size, width).sum(axis=1).reshape(-1)
        for part in (gradient.own, gradient.shared)
    )
    return Gradient(own, NONE if gradient.shared is NONE else shared)


def _by_head(model: Model, name: str, signal: Signal) -> Signal:
    """Units are heads and their width, positions are tokens."""
    width = -2 if -2 in signal.axes and -1 not in signal.axes else -1
    return lay_out(signal, model.sizes(name), (-3, width) if -3 in signal.axes else (width,))


RULES: dict[Op, Rule] = {Op.ATTENTION: Rule(_forward, _backward, needs=3)}
