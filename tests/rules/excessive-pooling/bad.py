"""A 3×3 convolution on a map of 2×2."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("conv3",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 3, 8, 8)})
    h = net.activation("Relu", "relu1", net.conv("conv1", "x", 16, 3, stride=2, padding=1))
    h = net.activation("Relu", "relu2", net.conv("conv2", h, 32, 3, stride=2, padding=1))
    h = net.activation("Relu", "relu3", net.conv("conv3", h, 32, 3, padding=1))
    net.output(net.linear("head", net.pool("pool", h), 10), "logits")
    net.save(path)
