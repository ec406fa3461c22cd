"""Four sigmoid layers in a row."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("layers.0 … layers.3",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = "x"
    for k in range(4):
        h = net.linear(f"layers.{k}", h, 64)
        h = net.activation("Sigmoid", f"sigmoid.{k}", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
