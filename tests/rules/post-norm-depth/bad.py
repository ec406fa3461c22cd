"""24 post-norm blocks whose branches are larger than the stream."""

from __future__ import annotations

from tests.models import initial
from tests.models.network import Network

VIOLATES = ("model",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 64)})
    h = net.linear("stem", "x", 64)
    for k in range(24):
        branch = net.linear(f"blocks.{k}.fc1", h, 64)
        branch = net.activation("Sigmoid", f"blocks.{k}.sigmoid", branch)
        branch = net.linear(f"blocks.{k}.fc2", branch, 64, weight=initial.normal(0.15))
        h = net.layer_norm(f"blocks.{k}.norm", net.add(f"blocks.{k}", h, branch))
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
