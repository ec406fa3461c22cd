"""fc1 and fc2 are one linear map."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("fc2",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.linear("fc2", h, 64)
    h = net.activation("Relu", "relu2", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
