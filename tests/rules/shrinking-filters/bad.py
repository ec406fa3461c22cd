"""32 filters, a pooling, then 16."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("conv2",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 3, 32, 32)})
    h = net.activation("Relu", "relu1", net.conv("conv1", "x", 32, 3, padding=1))
    h = net.node("MaxPool", "pool1", [h], ("N", 32, 16, 16), kernel_shape=[2, 2], strides=[2, 2])
    h = net.activation("Relu", "relu2", net.conv("conv2", h, 16, 3, padding=1))
    net.output(net.linear("head", net.pool("pool2", h), 10), "logits")
    net.save(path)
