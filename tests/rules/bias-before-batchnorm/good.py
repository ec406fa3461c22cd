"""conv1 has no bias."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 3, 16, 16)})
    h = net.conv("conv1", "x", 16, 3, padding=1, bias=False)
    h = net.batch_norm("bn1", h)
    h = net.activation("Relu", "relu1", h)
    net.output(net.linear("head", net.pool("pool", h), 10), "logits")
    net.save(path)
