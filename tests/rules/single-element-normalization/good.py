"""A layer normalization of the pooled features."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 3, 16, 16)})
    h = net.conv("conv1", "x", 32, 3, padding=1)
    h = net.activation("Relu", "relu1", h)
    h = net.node("GlobalAveragePool", "pool", [h], ("N", 32, 1, 1))
    h = net.flatten("flatten", h)
    h = net.layer_norm("norm", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
