"""A dense head on the flattened map."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 3, 32, 32)})
    h = net.activation("Relu", "relu1", net.conv("conv1", "x", 16, 3, stride=2, padding=1))
    h = net.activation("Relu", "relu2", net.conv("conv2", h, 32, 3, stride=2, padding=1))
    h = net.flatten("flatten", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
