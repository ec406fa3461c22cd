"""A softmax as hidden activation."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("act1",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Softmax", "act1", h, axis=-1)
    h = net.linear("fc2", h, 64)
    h = net.activation("Relu", "act2", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
