"""Six ReLU layers at PyTorch's default: less than a hundredth of the signal is left."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("layers.0 … layers.5",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = "x"
    for k in range(6):
        h = net.linear(f"layers.{k}", h, 64)
        h = net.activation("Relu", f"relu.{k}", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
