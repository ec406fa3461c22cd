"""RNN, GRU and LSTM with all attributes of ONNX: torch's own kernels where they mean the same, else a loop over time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from trainaudit.probe.onnx_module.shaping import reversed_in_time
from trainaudit.probe.onnx_module.values import Floats, Tensor, UnsupportedError

Function = Callable[[Tensor], Tensor]

_ACTIVATIONS: dict[str, tuple[Callable[..., Tensor], tuple[float | None, ...]]] = {
    "relu": (torch.relu, ()), "tanh": (torch.tanh, ()), "sigmoid": (torch.sigmoid, ()), "softsign": (F.softsign, ()),
    "softplus": (F.softplus, ()),
    "affine": (lambda x, alpha, beta: alpha * x + beta, (None, None)),
    "leakyrelu": (lambda x, alpha: F.leaky_relu(x, alpha), (0.01,)),
    "thresholdedrelu": (lambda x, alpha: torch.where(x > alpha, x, torch.zeros_like(x)), (1.0,)),
    "scaledtanh": (lambda x, alpha, beta: alpha * torch.tanh(beta * x), (None, None)),
    "hardsigmoid": (lambda x, alpha, beta: (alpha * x + beta).clamp(0, 1), (0.2, 0.5)),
    "elu": (lambda x, alpha: F.elu(x, alpha), (1.0,)),
}  # fmt: skip
"""Name → function and the defaults of its alpha and beta, as far as it has them; None where ONNX gives no default."""

_DEFAULTS = {"RNN": ("tanh",), "GRU": ("sigmoid", "tanh"), "LSTM": ("sigmoid", "tanh", "tanh")}


@dataclass(frozen=True, slots=True)
class _Direction:
    """The weights of one direction: W (gates·hidden, input), R (gates·hidden, hidden), the two biases and peepholes."""

    w: Tensor
    r: Tensor
    wb: Tensor
    rb: Tensor
    functions: list[Function]
    hidden: int
    clip: float | None
    peepholes: Tensor | None = None
    flags: dict[str, int] = field(default_factory=dict)

    def bounded(self, x: Tensor) -> Tensor:
        return x if self.clip is None else x.clamp(-self.clip, self.clip)


def _rnn_step(cell: _Direction, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    return cell.functions[0](cell.bounded(x + F.linear(h, cell.r, cell.rb))), c


def _gru_step(cell: _Direction, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    size = cell.hidden
    f, g = cell.functions
    gates = x[:, : 2 * size] + F.linear(h, cell.r[: 2 * size], cell.rb[: 2 * size])
    z, r = f(cell.bounded(gates)).chunk(2, 1)
    weight, bias = cell.r[2 * size :], cell.rb[2 * size :]
    reset = r * F.linear(h, weight, bias) if cell.flags["linear_before_reset"] else F.linear(r * h, weight, bias)
    return (1 - z) * g(cell.bounded(x[:, 2 * size :] + reset)) + z * h, c


def _lstm_step(cell: _Direction, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    f, g, last = cell.functions
    i, o, forget, new = (x + F.linear(h, cell.r, cell.rb)).chunk(4, 1)
    peep = cell.peepholes.chunk(3) if cell.peepholes is not None else None
    if peep is not None:
        i, forget = i + peep[0] * c, forget + peep[2] * c
    i = f(cell.bounded(i))
    forget = 1 - i if cell.flags["input_forget"] else f(cell.bounded(forget))
    c = forget * c + i * g(cell.bounded(new))
    if peep is not None:
        o = o + peep[1] * c
    return f(cell.bounded(o)) * last(c), c


_STEPS = {"RNN": _rnn_step, "GRU": _gru_step, "LSTM": _lstm_step}
_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_TORCH_ORDER = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}
"""torch's gates in terms of ONNX's: zrh → rzn, iofc → ifgo."""


def _functions(names: list[str], alphas: list[float], betas: list[float]) -> list[Function]:
    """Activations with their parameters, which the two lists hold for those that have any."""
    alphas, betas = list(alphas), list(betas)
    made: list[Function] = []
    for name in names:
        found = _ACTIVATIONS.get(name.lower())
        if found is None:
            raise UnsupportedError(f"has the activation {name!r}")
        function, defaults = found
        given = [pool.pop(0) if pool else default for default, pool in zip(defaults, (alphas, betas), strict=False)]
        if None in given:
            raise UnsupportedError(f"has the activation {name!r} without its numbers")
        made.append(partial(function, **dict(zip(("alpha", "beta"), given, strict=False))) if given else function)
    return made


def _scan(
    step: Callable[..., tuple[Tensor, Tensor]],
    cell: _Direction,
    x: Tensor,
    h: Tensor,
    c: Tensor,
    lengths: Tensor | None,
) -> tuple[Tensor, ...]:
    """All steps of one direction: outputs (time, batch, hidden) and the final states."""
    projected = F.linear(x, cell.w, cell.wb)
    outputs = []
    for time in range(x.shape[0]):
        h_new, c_new = step(cell, projected[time], h, c)
        if lengths is not None:
            alive = (time < lengths)[:, None]
            h, c = torch.where(alive, h_new, h), torch.where(alive, c_new, c)
            outputs.append(torch.where(alive, h_new, torch.zeros_like(h_new)))
        else:
            h, c = h_new, c_new
            outputs.append(h)
    empty = x.new_zeros(0, x.shape[1], cell.hidden)
    return torch.stack(outputs) if outputs else empty, h, c


def _fused(
    kind: str, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None, h: Tensor, c: Tensor, reverse: bool
) -> tuple[Tensor, ...]:
    """torch's kernel. Outputs (time, batch, directions·hidden) and the final states."""
    hidden, order = r.shape[2], _TORCH_ORDER[kind]

    def sorted_gates(rows: Tensor) -> Tensor:
        return torch.cat([rows[index * hidden : (index + 1) * hidden] for index in order]) if len(order) > 1 else rows

    weights: list[Tensor] = []
    for direction in range(w.shape[0]):
        weights += [sorted_gates(w[direction]), sorted_gates(r[direction])]
        if b is not None:
            weights += [sorted_gates(half) for half in b[direction].chunk(2)]
    if reverse:
        x = x.flip(0)
    both = w.shape[0] == 2
    settings = (b is not None, 1, 0.0, False, both, False)
    if kind == "LSTM":
        y, h, c = torch.lstm(x, (h, c), weights, *settings)
    else:
        y, h = (torch.gru if kind == "GRU" else torch.rnn_tanh)(x, h, weights, *settings)
    return (y.flip(0) if reverse else y), h, c


def _recurrent(kind: str) -> Callable[..., Any]:
    def operator(
        x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, sequence_lens: Tensor | None = None,
        initial_h: Tensor | None = None, initial_c: Tensor | None = None, p: Tensor | None = None, *,
        activation_alpha: Floats | None = None, activation_beta: Floats | None = None, activations: list[str] | None = None,
        clip: float | None = None, direction: str = "forward", hidden_size: int | None = None, input_forget: int = 0,
        layout: int = 0, linear_before_reset: int = 0, output_sequence: int = 0,
    ) -> Any:  # fmt: skip
        del hidden_size, output_sequence
        if direction not in ("forward", "reverse", "bidirectional"):
            raise UnsupportedError(f"runs in the direction {direction!r}")
        if layout:
            x = x.transpose(0, 1)
            initial_h = initial_h.transpose(0, 1) if initial_h is not None else None
            initial_c = initial_c.transpose(0, 1) if initial_c is not None else None
        directions, hidden, batch = w.shape[0], r.shape[2], x.shape[1]
        h = x.new_zeros(directions, batch, hidden) if initial_h is None else initial_h
        c = x.new_zeros(directions, batch, hidden) if initial_c is None else initial_c
        names = [name.lower() for name in activations or _DEFAULTS[kind] * directions]
        plain = (
            names == list(_DEFAULTS[kind] * directions) and clip is None and sequence_lens is None and p is None
            and not input_forget and (kind != "GRU" or linear_before_reset)
            and not activation_alpha and not activation_beta and x.shape[0] > 0
        )  # fmt: skip
        if plain:
            y, h, c = _fused(kind, x, w, r, b, h, c, direction == "reverse")
            y = y.reshape(*y.shape[:2], directions, hidden).transpose(1, 2)
        else:
            functions = _functions(names, activation_alpha or [], activation_beta or [])
            bias = w.new_zeros(directions, 2 * _GATES[kind] * hidden) if b is None else b
            each = len(_DEFAULTS[kind])
            results = []
            for index in range(directions):
                wb, rb = bias[index].chunk(2)
                cell = _Direction(
                    w[index], r[index], wb, rb, functions[index * each : (index + 1) * each], hidden, clip,
                    p[index] if p is not None else None,
                    {"linear_before_reset": linear_before_reset, "input_forget": input_forget},
                )  # fmt: skip
                backward = direction == "reverse" or index == 1
                results.append(_one_direction(_STEPS[kind], cell, x, h[index], c[index], sequence_lens, backward))
            y = torch.stack([result[0] for result in results], 1)
            h, c = (torch.stack([result[place] for result in results]) for place in (1, 2))
        if layout:
            y, h, c = y.permute(2, 0, 1, 3), h.transpose(0, 1), c.transpose(0, 1)
        return (y, h, c)

    return operator


def _one_direction(
    step: Callable[..., tuple[Tensor, Tensor]], cell: _Direction, x: Tensor, h: Tensor, c: Tensor, lengths: Tensor | None,
    backward: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    def turned(steps: Tensor) -> Tensor:
        if not backward:
            return steps
        return steps.flip(0) if lengths is None else reversed_in_time(steps, lengths, 1, 0)

    y, h, c = _scan(step, cell, turned(x), h, c, lengths)
    return turned(y), h, c


OPERATORS: dict[str, Callable[..., Any]] = {kind: _recurrent(kind) for kind in ("RNN", "GRU", "LSTM")}
