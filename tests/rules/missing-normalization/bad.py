"""Twelve ReLU layers whose weights are a little larger than PyTorch's default, without normalization."""

from __future__ import annotations

from tests.models import initial
from tests.models.network import Network

VIOLATES = ("layers.0 … layers.11",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 64)})
    h = "x"
    for k in range(12):
        h = net.linear(f"layers.{k}", h, 64, weight=initial.uniform(0.14), bias_values=initial.constant(0.0))
        h = net.activation("Relu", f"relu.{k}", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
