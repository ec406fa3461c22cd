"""The gate is computed and never used."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("gate",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    net.activation("Sigmoid", "gate", h)
    h = net.activation("Relu", "relu1", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
