"""Weights of N(0, 0.01) in four layers of 64 units: a gain of 0.08."""

from __future__ import annotations

from tests.models import initial
from tests.models.network import Network

VIOLATES = ("layers.0", "layers.1", "layers.2", "layers.3")
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = "x"
    for k in range(4):
        h = net.linear(f"layers.{k}", h, 64, weight=initial.normal(0.01), bias_values=initial.constant(0.0))
        h = net.activation("Relu", f"relu.{k}", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
