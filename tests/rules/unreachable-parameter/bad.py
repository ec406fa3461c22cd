"""The result of skip is never used."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("skip.weight", "skip.bias")
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Relu", "relu1", h)
    net.linear("skip", "x", 64)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
