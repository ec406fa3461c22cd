"""The same with ReLU."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = "x"
    for k in range(4):
        h = net.linear(f"layers.{k}", h, 64)
        h = net.activation("Relu", f"relu.{k}", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
