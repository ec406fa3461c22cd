"""log(relu(x)): rectified values are exactly zero."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("rate.log",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Relu", "relu1", h)
    h = net.linear("head", h, 10)
    h = net.activation("Relu", "rate", h)
    net.output(net.node("Log", "rate", [h]), "log_rate")
    net.save(path)
