"""A mean divided by a predicted scale that takes both signs."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("/Div",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Relu", "relu1", h)
    mean = net.linear("mean", h, 10)
    scale = net.linear("scale", h, 10)
    net.output(net.node("Div", "", [mean, scale]), "score")
    net.save(path)
