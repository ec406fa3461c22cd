"""A running variance of 60,000 in float16."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("bn1.running_var",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 3, 16, 16)}, dtype="float16")
    h = net.conv("conv1", "x", 16, 3, padding=1, bias=False)
    h = net.batch_norm("bn1", h, variance=60_000.0)
    h = net.activation("Relu", "relu1", h)
    net.output(net.linear("head", net.pool("pool", h), 10), "logits")
    net.save(path)
