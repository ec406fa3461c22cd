"""Weights of N(0, 1) before tanh: a gain of 8."""

from __future__ import annotations

from tests.models import initial
from tests.models.network import Network

VIOLATES = ("layers.0", "layers.1", "layers.2")
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = "x"
    for k in range(3):
        h = net.linear(f"layers.{k}", h, 64, weight=initial.normal(1.0))
        h = net.activation("Tanh", f"tanh.{k}", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
