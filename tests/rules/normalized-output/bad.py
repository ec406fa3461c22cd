"""Batch normalization behind the head."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("logits",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.activation("Relu", "relu1", net.linear("fc1", "x", 64))
    h = net.batch_norm("bn", net.linear("head", h, 10, bias=False))
    net.output(h, "logits")
    net.save(path)
