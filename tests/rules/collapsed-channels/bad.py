"""Half of the channels of bn1 have γ = 0."""

from __future__ import annotations

from tests.models import initial
from tests.models.network import Network

VIOLATES = ("bn1",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 3, 16, 16)})
    h = "x"
    for i in range(3):
        h = net.conv(f"conv{i}", h, 32, 3, padding=1, bias=False, weight=initial.trained)
        mean, variance = net.random.normal(0.0, 0.5, 32), net.random.gamma(2.0, 0.5, 32)
        scale, shift = net.random.normal(1.0, 0.2, 32), net.random.normal(0.0, 0.2, 32)
        if i == 1:
            scale[::2] = 0.0
        h = net.batch_norm(f"bn{i}", h, scale=scale, shift=shift, mean=mean, variance=variance)
        h = net.activation("Relu", f"relu{i}", h)
    h = net.pool("pool", h)
    net.output(net.linear("head", h, 10, weight=initial.trained, bias_values=initial.trained_vector), "logits")
    net.save(path)
