"""fc2 starts with all weights at zero."""

from __future__ import annotations

from tests.models import initial
from tests.models.network import Network

VIOLATES = ("fc2.weight",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Relu", "relu1", h)
    h = net.linear("fc2", h, 64, weight=initial.constant(0.0))
    h = net.activation("Relu", "relu2", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
