"""A layer normalization behind each of them."""

from __future__ import annotations

from tests.models import initial
from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 64)})
    h = "x"
    for k in range(12):
        h = net.linear(f"layers.{k}", h, 64, weight=initial.uniform(0.14), bias_values=initial.constant(0.0))
        h = net.layer_norm(f"norms.{k}", h)
        h = net.activation("Relu", f"relu.{k}", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
