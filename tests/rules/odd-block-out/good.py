"""Every block has its BatchNorm."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 3, 16, 16)})
    h = net.conv("stem", "x", 16, 3, padding=1)
    h = net.activation("Relu", "relu", h)
    for i in range(6):
        h = net.conv(f"blocks.{i}.conv", h, 16, 3, padding=1, bias=False)
        h = net.batch_norm(f"blocks.{i}.norm", h)
        h = net.activation("Relu", f"blocks.{i}.act", h)
    net.output(net.linear("head", net.pool("pool", h), 10), "logits")
    net.save(path)
