"""PyTorch's default."""

from __future__ import annotations

from tests.models import initial
from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = "x"
    for k in range(2):
        h = net.linear(f"layers.{k}", h, 64, weight=initial.he_normal)
        h = net.activation("Relu", f"relu.{k}", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
