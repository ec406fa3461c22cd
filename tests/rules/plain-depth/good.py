"""A skip connection around each of them."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 64)})
    h = net.linear("stem", "x", 64, bias=False)
    for k in range(48):
        branch = net.activation("Relu", f"relu.{k}", net.batch_norm(f"norms.{k}", h))
        h = net.add(f"blocks.{k}", h, net.linear(f"layers.{k}", branch, 64, bias=False))
    h = net.batch_norm("norm", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
