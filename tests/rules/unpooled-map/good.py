"""Two convolutions with a stride of 2."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 3, 16, 16)})
    h = net.activation("Relu", "relu1", net.conv("conv1", "x", 16, 3, stride=2, padding=1))
    h = net.activation("Relu", "relu2", net.conv("conv2", h, 16, 3, stride=2, padding=1))
    h = net.activation("Relu", "relu3", net.linear("fc1", net.flatten("flatten", h), 16))
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
