"""LayerNorm over time."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("norm",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 16, 50)})
    h = net.conv("conv1", "x", 32, 3, padding=1)
    h = net.layer_norm("norm", h)  # over time: the last axis holds positions, not features
    h = net.activation("Relu", "relu1", h)
    h = net.conv("conv2", h, 32, 3, padding=1)
    h = net.activation("Relu", "relu2", h)
    net.output(net.linear("head", net.pool("pool", h), 10), "logits")
    net.save(path)
