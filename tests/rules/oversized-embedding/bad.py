"""An N(0, 1) embedding tied to the head."""

from __future__ import annotations

from tests.models import initial
from tests.models.network import Network

VIOLATES = ("embedding.weight",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"ids": ("N", 16)}, integers=["ids"])
    h = net.embedding("embedding", "ids", 100, 64, weight=initial.normal(1.0))
    h = net.add("", h, net.attention("attention", net.layer_norm("norm1", h), 4))
    h = net.layer_norm("norm2", h)
    table = net.transpose("head", "embedding.weight", (1, 0))
    net.output(net.node("MatMul", "head", [h, table], ("N", 16, 100)), "logits")
    net.save(path)
