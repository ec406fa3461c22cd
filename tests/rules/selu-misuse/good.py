"""SELU without it."""

from __future__ import annotations

from tests.models import initial
from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64, weight=initial.lecun_normal, bias_values=initial.constant(0.0))
    h = net.activation("Selu", "selu1", h)
    h = net.linear("fc2", h, 64, weight=initial.lecun_normal, bias_values=initial.constant(0.0))
    h = net.activation("Selu", "selu2", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
