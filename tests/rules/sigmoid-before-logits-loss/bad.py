"""Sigmoid, then a loss that applies sigmoid."""

from __future__ import annotations

from tests.models.network import Network

LOSS = "bce-with-logits"
VIOLATES = ("probability",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Relu", "relu1", h)
    h = net.linear("head", h, 1)
    net.output(net.activation("Sigmoid", "sigmoid", h), "probability")
    net.save(path)
