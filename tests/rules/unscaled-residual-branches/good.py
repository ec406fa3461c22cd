"""The last layer of each branch is scaled by 1/√(2N)."""

from __future__ import annotations

from tests.models import initial
from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("stem", "x", 64)
    for k in range(5):
        branch = net.linear(f"blocks.{k}.fc1", h, 64, weight=initial.he_normal)
        branch = net.activation("Relu", f"blocks.{k}.relu", branch)
        branch = net.linear(f"blocks.{k}.fc2", branch, 64, weight=initial.normal(0.177 / 10**0.5))
        h = net.add(f"blocks.{k}", h, branch)
    net.output(net.linear("head", h, 10, weight=initial.normal(0.02)), "logits")
    net.save(path)
