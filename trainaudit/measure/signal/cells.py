"""One step of a recurrent cell, forward and backward, in moments of its units. numpy only.

Products of a gate and a state count as products of independent numbers, which they are at random weights (Chen et al. 2018, arXiv:1806.05394;
Gilboa et al. 2019, arXiv:1901.08987).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trainaudit.ir.ops import Op
from trainaudit.measure.signal.curves import Curve, curve_of
from trainaudit.measure.signal.gaussian import slopes, through
from trainaudit.measure.signal.prediction import NONE, Floats


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Mean and variance of each unit. `ahead` is the covariance of a state with what the next step adds to it."""

    mean: Floats
    variance: Floats
    ahead: Floats | float = 0.0

    @property
    def second(self) -> Floats:
        return self.mean * self.mean + self.variance


State = tuple[Moments, ...]
"""The output h, then the inner state c of an LSTM."""


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """`gates` is the order of the gates' rows. `forward(pre, hidden, state, echo)` gives the next state, where `pre` are the sums before each gate,
    `hidden` the recurrent part of them alone, and `echo` the correlation of these sums with those one step earlier. `backward(pre, hidden, before, after, gradients)` gives the gradients' second moments by the gates'
    sums, by the recurrent parts of them, and by the state before without what the recurrent weights bring."""

    gates: str
    forward: Callable[[list[Moments], list[Moments], State, Floats], State]
    backward: Callable[
        [list[Moments], list[Moments], State, State, list[Floats]], tuple[list[Floats], list[Floats], list[Floats]]
    ]
    memory: Callable[[list[Moments], State], tuple[Floats, list[Floats]]]
    """The mean share of the state that a step keeps, and for each gate how much of its gradient's second moment is correlated from step to step,
    apart from that share: the squared mean of the factor between state and gate over its mean square."""


def cell_of(op: Op, order: str, activation: str) -> Cell:
    match op:
        case Op.LSTM:
            return _lstm(order)
        case Op.GRU:
            return _gru(order)
        case _:
            return _plain(curve_of(Op.RELU if activation == "relu" else Op.TANH, {}) or _TANH)


def _named(op: Op) -> Curve:
    curve = curve_of(op, {})
    assert curve is not None
    return curve


_SIGMOID, _TANH = _named(Op.SIGMOID), _named(Op.TANH)


def _through(curve: Curve, x: Moments) -> Moments:
    mean, variance, _ = through(curve, x.mean, x.variance, NONE)
    return Moments(mean, variance)


def _slope(curve: Curve, x: Moments) -> Floats:
    return slopes(curve, x.mean, x.variance, NONE, pairs=False)[0]


def _share(curve: Curve, x: Moments) -> Floats:
    """E[φ']² / E[φ'²]."""
    second, mean_squared = slopes(curve, x.mean, x.variance, NONE, pairs=True)
    return _over(mean_squared, second)


def _over(part: Floats, whole: Floats) -> Floats:
    return np.clip(part / np.maximum(whole, 1e-300), 0.0, 1.0)


def _product(x: Moments, y: Moments) -> Moments:
    return Moments(x.mean * y.mean, np.maximum(x.second * y.second - (x.mean * y.mean) ** 2, 0.0))


def _constancy(x: Moments) -> Floats:
    return _over(x.mean * x.mean, x.second)


def _lstm(order: str) -> Cell:
    """c' = f·c + i·g, h' = o·tanh(c') (Hochreiter & Schmidhuber 1997; Gers et al. 2000)."""
    at_i, at_o, at_f, at_g = (order.index(gate) for gate in "iofc")

    def forward(pre: list[Moments], _hidden: list[Moments], state: State, echo: Floats) -> State:
        i, o, f = (_through(_SIGMOID, pre[at]) for at in (at_i, at_o, at_f))
        g, c = _through(_TANH, pre[at_g]), state[1]
        kept, new = _product(f, c), _product(i, g)
        together = f.mean * c.ahead
        ahead = echo[at_g] * _constancy(i) * (new.variance + together)
        inner = Moments(kept.mean + new.mean, kept.variance + new.variance + 2.0 * together, ahead)
        return _product(o, _through(_TANH, inner)), inner

    def backward(
        pre: list[Moments], _hidden: list[Moments], before: State, after: State, gradients: list[Floats]
    ) -> tuple[list[Floats], list[Floats], list[Floats]]:
        by_h, by_c = gradients
        i, o, f = (_through(_SIGMOID, pre[at]) for at in (at_i, at_o, at_f))
        g, bent = _through(_TANH, pre[at_g]), _through(_TANH, after[1])
        by_c = by_c + by_h * o.second * _slope(_TANH, after[1])
        found: list[Floats] = [NONE] * 4
        found[at_o] = by_h * bent.second * _slope(_SIGMOID, pre[at_o])
        found[at_i] = by_c * g.second * _slope(_SIGMOID, pre[at_i])
        found[at_f] = by_c * before[1].second * _slope(_SIGMOID, pre[at_f])
        found[at_g] = by_c * i.second * _slope(_TANH, pre[at_g])
        return found, found, [np.zeros_like(by_h), by_c * f.second]

    def memory(pre: list[Moments], state: State) -> tuple[Floats, list[Floats]]:
        i, f = _through(_SIGMOID, pre[at_i]), _through(_SIGMOID, pre[at_f])
        g = _through(_TANH, pre[at_g])
        factors: list[Floats] = [np.zeros_like(f.mean)] * 4
        factors[at_g] = _constancy(i) * _share(_TANH, pre[at_g])
        factors[at_i] = _constancy(g) * _share(_SIGMOID, pre[at_i])
        factors[at_f] = _constancy(state[1]) * _share(_SIGMOID, pre[at_f])
        return f.mean, factors

    return Cell(order, forward, backward, memory)


def _gru(order: str) -> Cell:
    """h' = (1 − z)·n + z·h, n = tanh(W x + r·(R h)) (Cho et al. 2014), the reset after the product as cuDNN, torch and Keras have it."""
    at_z, at_r, at_n = (order.index(gate) for gate in "zrh")

    def candidate(pre: list[Moments], hidden: list[Moments], r: Moments) -> Moments:
        """Its sum: the part from the input, and the recurrent part through the reset gate."""
        whole, recurrent = pre[at_n], hidden[at_n]
        reset = _product(r, recurrent)
        mean = whole.mean - recurrent.mean + reset.mean
        return Moments(mean, np.maximum(whole.variance - recurrent.variance, 0.0) + reset.variance)

    def parts(pre: list[Moments], hidden: list[Moments]) -> tuple[Moments, Moments, Moments, Moments]:
        z, r = _through(_SIGMOID, pre[at_z]), _through(_SIGMOID, pre[at_r])
        before = candidate(pre, hidden, r)
        return z, r, before, _through(_TANH, before)

    def forward(pre: list[Moments], hidden: list[Moments], state: State, echo: Floats) -> State:
        z, _, _, n = parts(pre, hidden)
        h, rest = state[0], Moments(1.0 - z.mean, z.variance)
        mean = rest.mean * n.mean + z.mean * h.mean
        between = z.mean - z.second  # E[z(1 − z)]
        second = rest.second * n.second + z.second * h.second + 2.0 * between * n.mean * h.mean
        together = z.mean * h.ahead
        ahead = echo[at_n] * _constancy(rest) * (rest.second * n.variance + together)
        return (Moments(mean, np.maximum(second - mean * mean, 0.0) + 2.0 * together, ahead),)

    def backward(
        pre: list[Moments], hidden: list[Moments], before: State, _after: State, gradients: list[Floats]
    ) -> tuple[list[Floats], list[Floats], list[Floats]]:
        by_h, h = gradients[0], before[0]
        z, r, sums, n = parts(pre, hidden)
        rest = (1.0 - z.mean) ** 2 + z.variance
        apart = h.variance + n.variance + (h.mean - n.mean) ** 2
        found: list[Floats] = [NONE] * 3
        found[at_n] = by_h * rest * _slope(_TANH, sums)
        found[at_z] = by_h * apart * _slope(_SIGMOID, pre[at_z])
        found[at_r] = found[at_n] * hidden[at_n].second * _slope(_SIGMOID, pre[at_r])
        recurrent = list(found)
        recurrent[at_n] = found[at_n] * r.second
        return found, recurrent, [by_h * z.second]

    def memory(pre: list[Moments], state: State) -> tuple[Floats, list[Floats]]:
        z = _through(_SIGMOID, pre[at_z])
        factors: list[Floats] = [np.zeros_like(z.mean)] * 3
        factors[at_n] = _constancy(Moments(1.0 - z.mean, z.variance)) * _share(_TANH, pre[at_n])
        return z.mean, factors

    return Cell(order, forward, backward, memory)


def _plain(curve: Curve) -> Cell:
    """h' = φ(W x + R h) (Elman 1990)."""

    def forward(pre: list[Moments], _hidden: list[Moments], _state: State, _echo: Floats) -> State:
        return (_through(curve, pre[0]),)

    def backward(
        pre: list[Moments], _hidden: list[Moments], _before: State, _after: State, gradients: list[Floats]
    ) -> tuple[list[Floats], list[Floats], list[Floats]]:
        found = [gradients[0] * _slope(curve, pre[0])]
        return found, found, [np.zeros_like(gradients[0])]

    def memory(pre: list[Moments], _state: State) -> tuple[Floats, list[Floats]]:
        return np.zeros_like(pre[0].mean), [np.zeros_like(pre[0].mean)]

    return Cell("i", forward, backward, memory)
