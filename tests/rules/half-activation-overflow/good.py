"""The same model without the factor."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 64)}, dtype="float16")
    h = net.activation("Relu", "relu1", net.linear("fc1", "x", 64))
    h = net.layer_norm("norm", net.linear("fc2", h, 64))
    net.output(net.linear("head", net.activation("Relu", "relu2", h), 10), "logits")
    net.save(path)
