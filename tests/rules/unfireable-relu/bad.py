"""Weights around a negative mean, behind a sigmoid."""

from __future__ import annotations

from tests.models import initial
from tests.models.network import Network

VIOLATES = ("fc2",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.activation("Sigmoid", "sigmoid", net.linear("fc1", "x", 64, weight=initial.normal(0.3)))
    h = net.activation("Relu", "relu", net.linear("fc2", h, 64, weight=initial.normal(0.2, mean=-0.05)))
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
