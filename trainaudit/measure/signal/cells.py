"""One step of a recurrent cell, forward and backward, in moments of its units. numpy only.

Products of a gate and a state count as products of independent numbers, which they are at random weights (Chen et al. 2018, arXiv:1806.05394;
Gilboa et al. 2019, arXiv:1901.08987). What a state keeps from step to step makes neighboring steps correlated; so does an input (or a gradient) that
is correlated with that of the step before, here by a factor called echo.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trainaudit.frozen import frozen
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.curves import Curve, curve_of
from trainaudit.measure.signal.gaussian import slopes, through
from trainaudit.measure.signal.prediction import NONE, Floats

_TINY = 1e-300


@frozen(eq=False)
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


@frozen(eq=False)
class Step:
    """`pre` are the sums before each gate, `hidden` the recurrent part of them alone, `gates` what the gates make of them."""

    pre: list[Moments]
    hidden: list[Moments]
    before: State
    after: State
    gates: list[Moments]


@frozen(eq=False)
class Slopes:
    """Of one step: E[φ′²] of each gate, the share of it that is E[φ′]², and what else a cell needs."""

    second: list[Floats]
    share: list[Floats]
    more: tuple[Floats, ...] = ()


@frozen(eq=False)
class Flow:
    """Second moments of gradients at one step: by the gates' sums, by the recurrent parts of them, and by the states before, without what the
    recurrent weights bring. Gradients by a gate's sum at two steps correlate as `factor` · `decay`^distance."""

    gates: list[Floats]
    hidden: list[Floats]
    passed: list[Floats]
    decay: list[Floats]
    factor: list[Floats]


@frozen(eq=False)
class Cell:
    """`forward(pre, hidden, state, echo)` gives the next state and the gates; `echo` is the correlation of the gates' sums with those one step
    earlier. `backward(step, slopes, gradients, echo)` gives the flow; `gradients` are by the states after the step, and last the covariance that
    the echo of the arriving gradient brings. `kept(step)` is the correlation of the state with that of the step before, and the share of the
    output's variance that has it."""

    gates: str
    forward: Callable[[list[Moments], list[Moments], State, Floats], tuple[State, list[Moments]]]
    slopes: Callable[[Step], Slopes]
    backward: Callable[[Step, Slopes, list[Floats], Floats], Flow]
    kept: Callable[[Step], tuple[Floats, Floats]]


def cell_of(op: Op, order: str, activation: str) -> Cell:
    match op:
        case Op.LSTM:
            return _lstm(order)
        case Op.GRU:
            return _gru(order)
        case _:
            return _plain(_named(Op.RELU if activation == "relu" else Op.TANH))


def _named(op: Op) -> Curve:
    curve = curve_of(op, {})
    assert curve is not None
    return curve


_SIGMOID, _TANH = _named(Op.SIGMOID), _named(Op.TANH)


def _through(curve: Curve, *many: Moments) -> list[Moments]:
    """φ of several vectors of units at once."""
    mean, variance, _ = through(curve, *_stacked(many), NONE)
    count = len(many)
    return [Moments(m, v) for m, v in zip(np.split(mean, count), np.split(variance, count), strict=True)]


def _slopes(curve: Curve, *many: Moments) -> tuple[list[Floats], list[Floats]]:
    """E[φ′²], and the share of it that is E[φ′]²."""
    second, squared = slopes(curve, *_stacked(many), NONE, pairs=True)
    return np.split(second, len(many)), np.split(_over(squared, second), len(many))


def _stacked(many: tuple[Moments, ...]) -> tuple[Floats, Floats]:
    return np.concatenate([one.mean for one in many]), np.concatenate([one.variance for one in many])


def _over(part: Floats, whole: Floats) -> Floats:
    return np.clip(part / np.maximum(whole, _TINY), 0.0, 1.0)


def _product(x: Moments, y: Moments) -> Moments:
    return Moments(x.mean * y.mean, np.maximum(x.second * y.second - (x.mean * y.mean) ** 2, 0.0))


def _constancy(x: Moments) -> Floats:
    return _over(x.mean * x.mean, x.second)


def _decay(kept: Floats, covariance: Floats | float, variance: Floats, echo: Floats | float) -> Floats:
    """The decay of a geometric correlation with the same sum over all distances as that of s′ = kept · s + u, where u's decays by `echo` and
    has that covariance with s."""
    total = (kept * variance + covariance / np.maximum(1.0 - echo, 1e-3)) / np.maximum(1.0 - kept, 1e-3)
    share = total / np.maximum(variance, _TINY)
    return share / (1.0 + share)


# --- LSTM ----------------------------------------------------------------------------------------------------------------


def _lstm(order: str) -> Cell:
    """c′ = f·c + i·g, h′ = o·tanh(c′) (Hochreiter & Schmidhuber 1997; Gers et al. 2000)."""
    at_i, at_o, at_f, at_g = (order.index(gate) for gate in "iofc")

    def forward(pre: list[Moments], _hidden: list[Moments], state: State, echo: Floats) -> tuple[State, list[Moments]]:
        i, o, f = _through(_SIGMOID, pre[at_i], pre[at_o], pre[at_f])
        (g,) = _through(_TANH, pre[at_g])
        kept, new = _product(f, state[1]), _product(i, g)
        together = f.mean * state[1].ahead
        ahead = echo[at_g] * _constancy(i) * (new.variance + together)
        inner = Moments(kept.mean + new.mean, kept.variance + new.variance + 2.0 * together, ahead)
        (bent,) = _through(_TANH, inner)
        return (_product(o, bent), inner), [i, o, f, g, bent]

    def both_slopes(step: Step) -> Slopes:
        second, share = _slopes(_SIGMOID, step.pre[at_i], step.pre[at_o], step.pre[at_f])
        (of_g, of_c), (share_g, share_c) = _slopes(_TANH, step.pre[at_g], step.after[1])
        return Slopes([*second, of_g], [*share, share_g], (of_c, share_c))

    def backward(step: Step, slope: Slopes, gradients: list[Floats], echo: Floats) -> Flow:
        i, o, f, g, bent = step.gates
        by_h, by_c, covariance = gradients
        bend, bend_share = slope.more
        new = by_h * o.second * bend
        by_c = by_c + new + 2.0 * f.mean * covariance
        following = echo * _constancy(o) * bend_share * (new + f.mean * covariance)
        decay = _decay(f.mean, following, by_c, echo)
        c, kept = step.before[1], _decay(f.mean, step.before[1].ahead, step.before[1].variance, 0.0)
        found = [NONE] * 4
        found[at_i] = by_c * g.second * slope.second[0]
        found[at_o] = by_h * bent.second * slope.second[1]
        found[at_f] = by_c * c.second * slope.second[2]
        found[at_g] = by_c * i.second * slope.second[3]
        decays, factors = [NONE] * 4, [NONE] * 4
        decays[at_i], factors[at_i] = decay, _constancy(g) * slope.share[0]
        decays[at_o], factors[at_o] = echo * kept, slope.share[1]
        decays[at_f], factors[at_f] = decay * np.maximum(kept, _constancy(c)), slope.share[2]
        decays[at_g], factors[at_g] = decay, _constancy(i) * slope.share[3]
        return Flow(found, found, [np.zeros_like(by_h), by_c * f.second, following], decays, factors)

    def kept(step: Step) -> tuple[Floats, Floats]:
        c, o, f = step.after[1], step.gates[1], step.gates[2]
        return _decay(f.mean, f.mean * c.ahead, c.variance, 0.0), _constancy(o)

    return Cell(order, forward, both_slopes, backward, kept)


# --- GRU -----------------------------------------------------------------------------------------------------------------


def _gru(order: str) -> Cell:
    """h′ = (1 − z)·n + z·h, n = tanh(W x + r·(R h)) (Cho et al. 2014), the reset after the product as cuDNN, torch and Keras have it."""
    at_z, at_r, at_n = (order.index(gate) for gate in "zrh")

    def forward(pre: list[Moments], hidden: list[Moments], state: State, echo: Floats) -> tuple[State, list[Moments]]:
        z, r = _through(_SIGMOID, pre[at_z], pre[at_r])
        (n,) = _through(_TANH, _candidate(pre[at_n], hidden[at_n], r))
        h, rest = state[0], Moments(1.0 - z.mean, z.variance)
        mean = rest.mean * n.mean + z.mean * h.mean
        between = z.mean - z.second  # E[z(1 − z)]
        second = rest.second * n.second + z.second * h.second + 2.0 * between * n.mean * h.mean
        together = z.mean * h.ahead
        ahead = echo[at_n] * _constancy(rest) * (rest.second * n.variance + together)
        return (Moments(mean, np.maximum(second - mean * mean, 0.0) + 2.0 * together, ahead),), [z, r, n]

    def all_slopes(step: Step) -> Slopes:
        (of_z, of_r), (share_z, _) = _slopes(_SIGMOID, step.pre[at_z], step.pre[at_r])
        of_n, of_hidden, of_reset = _reset_slopes(step.pre[at_n], step.hidden[at_n], step.pre[at_r])
        _, (share_n,) = _slopes(_TANH, _candidate(step.pre[at_n], step.hidden[at_n], step.gates[1]))
        return Slopes([of_z], [share_z, share_n], (of_n, of_hidden, of_r * of_reset))

    def backward(step: Step, slope: Slopes, gradients: list[Floats], echo: Floats) -> Flow:
        z, _, n = step.gates
        by_h, covariance = gradients[0], gradients[-1]
        h = step.before[0]
        rest = Moments(1.0 - z.mean, z.variance)
        by_h = by_h + 2.0 * z.mean * covariance
        following = echo * (by_h + z.mean * covariance)
        decay = _decay(z.mean, following, by_h, echo)
        kept, _ = state_kept(step)
        apart = h.variance + n.variance + (h.mean - n.mean) ** 2
        of_n, of_hidden, of_reset = slope.more
        found, decays, factors = [NONE] * 3, [NONE] * 3, [NONE] * 3
        found[at_n] = by_h * rest.second * of_n
        found[at_z] = by_h * apart * slope.second[0]
        found[at_r] = by_h * rest.second * of_reset
        decays[at_n], factors[at_n] = decay, _constancy(rest) * slope.share[1]
        decays[at_z], factors[at_z] = decay * kept, _over(h.variance, apart) * slope.share[0]
        decays[at_r], factors[at_r] = decay * kept, factors[at_n] * slope.share[0]
        recurrent = list(found)
        recurrent[at_n] = by_h * rest.second * of_hidden
        return Flow(found, recurrent, [by_h * z.second, following], decays, factors)

    def state_kept(step: Step) -> tuple[Floats, Floats]:
        z, h = step.gates[0], step.after[0]
        return _decay(z.mean, z.mean * h.ahead, h.variance, 0.0), np.ones_like(z.mean)

    return Cell(order, forward, all_slopes, backward, state_kept)


def _candidate(whole: Moments, recurrent: Moments, r: Moments) -> Moments:
    """The candidate's sum: the part from the input, and the recurrent part through the reset gate."""
    reset = _product(r, recurrent)
    mean = whole.mean - recurrent.mean + reset.mean
    return Moments(mean, np.maximum(whole.variance - recurrent.variance, 0.0) + reset.variance)


def _reset_slopes(whole: Moments, recurrent: Moments, reset: Moments) -> tuple[Floats, Floats, Floats]:
    """With n = a + r·b, b recurrent and r = σ(s): E[φ′(n)²], E[φ′(n)²r²] and E[φ′(n)²b²σ′(s)²]/E[σ′(s)²]. Where b is large, n is, and φ′(n) is not:
    these are no products of means."""
    nodes, masses = np.polynomial.hermite_e.hermegauss(7)
    s = reset.mean[:, None] + np.sqrt(reset.variance)[:, None] * nodes
    r = 0.5 * (1.0 + np.tanh(0.5 * s))
    own = np.maximum(whole.variance - recurrent.variance, 0.0)[:, None]
    part, center = recurrent.variance[:, None], recurrent.mean[:, None]
    variance = own + r * r * part
    mean = (whole.mean - recurrent.mean)[:, None] + r * center
    zeroth, spread = _bent(mean, np.sqrt(variance))
    slope = r * part / np.maximum(variance, _TINY)  # of b on n
    squares = zeroth * (center**2 + part - slope * r * part) + slope**2 * spread[0] + 2.0 * center * slope * spread[1]
    weight = masses / masses.sum()
    opening = (r * (1.0 - r)) ** 2 * weight
    opening /= np.maximum(opening.sum(axis=1), _TINY)[:, None]
    return zeroth @ weight, (zeroth * r * r) @ weight, (np.maximum(squares, 0.0) * opening).sum(axis=1)


def _bent(mean: Floats, std: Floats) -> tuple[Floats, tuple[Floats, Floats]]:
    """E[φ′(n)²] of tanh, and its moments E[φ′(n)²(n − mean)²], E[φ′(n)²(n − mean)], for n ~ N(mean, std²), by the trapezoid rule over whichever
    is narrower."""
    steps = np.linspace(-1.0, 1.0, 49)
    reach = np.minimum(6.0 * std, 6.0 + np.abs(mean) * 0.0)
    start = np.where(6.0 * std <= 6.0, mean, 0.0)
    n = start[..., None] + reach[..., None] * steps
    width = reach * (steps[1] - steps[0])
    from_mean = n - mean[..., None]
    density = (
        np.exp(-0.5 * (from_mean / np.maximum(std, _TINY)[..., None]) ** 2)
        / (np.sqrt(2.0 * np.pi) * np.maximum(std, _TINY))[..., None]
    )
    bend = (1.0 - np.tanh(n) ** 2) ** 2 * density * width[..., None]
    return bend.sum(-1), ((bend * from_mean**2).sum(-1), (bend * from_mean).sum(-1))


# --- plain ---------------------------------------------------------------------------------------------------------------


def _plain(curve: Curve) -> Cell:
    """h′ = φ(W x + R h) (Elman 1990)."""

    def forward(
        pre: list[Moments], _hidden: list[Moments], _state: State, _echo: Floats
    ) -> tuple[State, list[Moments]]:
        found = _through(curve, pre[0])
        return (found[0],), found

    def one_slope(step: Step) -> Slopes:
        return Slopes(*_slopes(curve, step.pre[0]))

    def backward(step: Step, slope: Slopes, gradients: list[Floats], echo: Floats) -> Flow:
        found = [gradients[0] * slope.second[0]]
        zero = np.zeros_like(found[0])
        return Flow(found, found, [zero, zero], [echo + zero], [slope.share[0]])

    def kept(step: Step) -> tuple[Floats, Floats]:
        zero = np.zeros_like(step.pre[0].mean)
        return zero, zero

    return Cell("i", forward, one_slope, backward, kept)
