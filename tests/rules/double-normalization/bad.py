"""A layer normalization behind a layer normalization."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("norm1",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 16, 32)})
    h = net.layer_norm("norm1", net.linear("fc1", "x", 64))
    h = net.layer_norm("norm2", h)
    h = net.activation("Relu", "relu1", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
