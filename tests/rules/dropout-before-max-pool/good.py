"""A max-pooling, then dropout."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 3, 16, 16)})
    h = net.activation("Relu", "relu1", net.conv("conv1", "x", 16, 3, padding=1))
    h = net.node("MaxPool", "pool1", [h], ("N", 16, 8, 8), kernel_shape=[2, 2], strides=[2, 2])
    h = net.dropout("drop", h, 0.25)
    h = net.activation("Relu", "relu2", net.conv("conv2", h, 16, 3, padding=1))
    net.output(net.linear("head", net.pool("pool2", h), 10), "logits")
    net.save(path)
