"""The same weights without it."""

from __future__ import annotations

from tests.models import initial
from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 64)})
    weight = initial.trained(net.random, (64, 64))
    h = net.linear("fc1", "x", 64, weight=weight, bias_values=initial.trained_vector)
    h = net.activation("Relu", "relu1", h)
    h = net.linear("fc2", h, 64, weight=initial.trained, bias_values=initial.trained_vector)
    h = net.activation("Relu", "relu2", h)
    net.output(net.linear("head", h, 10, weight=initial.trained, bias_values=initial.trained_vector), "logits")
    net.save(path)
