"""One of six blocks uses tanh."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("blocks.3",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 64)})
    h = "x"
    for i in range(6):
        branch = net.layer_norm(f"blocks.{i}.norm", h)
        branch = net.linear(f"blocks.{i}.fc1", branch, 128)
        branch = net.activation("Tanh" if i == 3 else "Relu", f"blocks.{i}.act", branch)
        h = net.add(f"blocks.{i}", h, net.linear(f"blocks.{i}.fc2", branch, 64))
    net.output(net.linear("head", net.layer_norm("norm", h), 10), "logits")
    net.save(path)
