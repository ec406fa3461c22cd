"""LayerNorm over the features."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 16, 50)})
    h = net.conv("conv1", "x", 32, 3, padding=1)
    h = net.transpose("", h, (0, 2, 1))
    h = net.layer_norm("norm", h)
    h = net.transpose("", h, (0, 2, 1))
    h = net.activation("Relu", "relu1", h)
    h = net.conv("conv2", h, 32, 3, padding=1)
    h = net.activation("Relu", "relu2", h)
    net.output(net.linear("head", net.pool("pool", h), 10), "logits")
    net.save(path)
