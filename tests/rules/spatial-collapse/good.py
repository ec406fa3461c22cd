"""The same network on larger images, with a stride of 2."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 3, 32, 32)})
    h = net.activation("Relu", "relu1", net.batch_norm("bn1", net.conv("conv1", "x", 16, 3, stride=2, padding=1)))
    h = net.activation("Relu", "relu2", net.batch_norm("bn2", net.conv("conv2", h, 32, 3, stride=2, padding=1)))
    h = net.activation("Relu", "relu3", net.batch_norm("bn3", net.conv("conv3", h, 32, 3, padding=1)))
    net.output(net.linear("head", net.pool("pool", h), 10), "logits")
    net.save(path)
