"""An instance normalization of a 1×1 map."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("norm",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 3, 16, 16)})
    h = net.conv("conv1", "x", 32, 3, padding=1)
    h = net.activation("Relu", "relu1", h)
    h = net.node("GlobalAveragePool", "pool", [h], ("N", 32, 1, 1))
    h = net.instance_norm("norm", h)
    h = net.flatten("flatten", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
