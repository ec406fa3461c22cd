"""Scores of 64 features, not scaled."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("attention.attention",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 16, 256)})
    h = net.layer_norm("norm1", "x")
    h = net.add("", "x", net.attention("attention", h, 4, scale=1.0))
    h = net.layer_norm("norm2", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
