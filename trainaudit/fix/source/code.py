"""Changes as PyTorch code: constructors, functions and statements. Stdlib and `changes` only."""

from __future__ import annotations

import math
from collections.abc import Mapping

from trainaudit.changes import Change

MODULES: Mapping[str, str] = {
    "relu": "ReLU()", "leaky_relu": "LeakyReLU()", "elu": "ELU()", "selu": "SELU()", "gelu": "GELU()", "silu": "SiLU()", "tanh": "Tanh()",
    "sigmoid": "Sigmoid()", "softplus": "Softplus()", "softmax": "Softmax(dim=-1)", "log_softmax": "LogSoftmax(dim=-1)", "log_sigmoid": "LogSigmoid()",
}  # fmt: skip
"""Activation function → constructor in torch.nn."""

FUNCTIONS: Mapping[str, tuple[str, str]] = {
    "relu": ("relu", ""), "leaky_relu": ("leaky_relu", ""), "elu": ("elu", ""), "selu": ("selu", ""), "gelu": ("gelu", ""), "silu": ("silu", ""),
    "tanh": ("tanh", ""), "sigmoid": ("sigmoid", ""), "softplus": ("softplus", ""), "softmax": ("softmax", "dim=-1"),
    "log_softmax": ("log_softmax", "dim=-1"), "log_sigmoid": ("logsigmoid", ""),
}  # fmt: skip
"""Activation function → function in torch.nn.functional, and its further arguments."""


def number(value: float) -> str:
    """A number as a person would write it."""
    return f"{value:g}" if float(f"{value:g}") == value else f"{value:.4g}"


def normalization(word: str, features: int, axes: int) -> str:
    """The constructor of a normalization of so many features behind a layer whose output has so many axes (of a map: channels first)."""
    if word == "batch_norm":
        return f"BatchNorm{ {2: 1, 3: 1, 4: 2, 5: 3}.get(axes, 1) }d({features})"
    return {
        "layer_norm": f"LayerNorm({features})",
        "group_norm": f"GroupNorm(1, {features})",
        "rms_norm": f"RMSNorm({features})",
    }[word]


def initialization(change: Change, tensor: str, nn: str, fan_in: int | None) -> str | None:
    """The statement that draws a weight anew, None where it cannot be written."""
    init, scheme, amount = f"{nn}init", change.to, change.amount
    if scheme in ("zeros", "ones"):
        return f"{init}.{scheme}_({tensor})"
    if scheme == "normal":
        return f"{init}.normal_({tensor}, std={number(0.02 if amount is None else amount)})"
    if scheme == "orthogonal" or scheme.startswith("xavier"):
        gain = "" if amount is None or amount == 1 else f", gain={number(amount)}"
        return f"{init}.{scheme}_({tensor}{gain})"
    usual = 1.0 if scheme == "lecun_normal" else math.sqrt(2.0)
    if amount is None or math.isclose(amount, usual, rel_tol=1e-3):
        kind = "kaiming_normal" if scheme == "lecun_normal" else scheme
        how = "linear" if scheme == "lecun_normal" else "relu"
        return f'{init}.{kind}_({tensor}, nonlinearity="{how}")'
    if fan_in is None:
        return None
    std = f"{number(amount)} / {fan_in} ** 0.5"
    if scheme.endswith("normal"):
        return f"{init}.normal_({tensor}, std={std})"
    return f"{init}.uniform_({tensor}, -{number(amount * math.sqrt(3))} / {fan_in} ** 0.5, {number(amount * math.sqrt(3))} / {fan_in} ** 0.5)"
