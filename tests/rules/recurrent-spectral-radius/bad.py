"""N(0, 0.4) gives a spectral radius above 2."""

from __future__ import annotations

from tests.models import initial
from tests.models.network import Network

VIOLATES = ("rnn",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": (8, "N", 16)})
    h = net.recurrent("RNN", "rnn", "x", 32, recurrent_weight=initial.normal(0.4))
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
