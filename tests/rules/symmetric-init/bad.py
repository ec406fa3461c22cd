"""All 64 units of fc1 start as one."""

from __future__ import annotations

from tests.models import initial
from tests.models.network import Network

VIOLATES = ("fc1.weight",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64, weight=initial.copied_rows)
    h = net.activation("Relu", "relu1", h)
    h = net.linear("fc2", h, 64)
    h = net.activation("Relu", "relu2", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
