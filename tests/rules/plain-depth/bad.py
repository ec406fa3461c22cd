"""48 layers with batch normalization and no skip connection."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("model",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 64)})
    h = "x"
    for k in range(48):
        h = net.linear(f"layers.{k}", h, 64, bias=False)
        h = net.activation("Relu", f"relu.{k}", net.batch_norm(f"norms.{k}", h))
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
