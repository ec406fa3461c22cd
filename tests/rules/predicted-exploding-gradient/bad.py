"""β = −2 before each ReLU: units fire rarely, and each normalization doubles the gradient on its way back."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("layers.1",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 64)})
    h = "x"
    for k in range(18):
        h = net.linear(f"layers.{k}", h, 64, bias=False)
        h = net.activation("Relu", f"relu.{k}", net.batch_norm(f"norms.{k}", h, shift=-2.0))
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
