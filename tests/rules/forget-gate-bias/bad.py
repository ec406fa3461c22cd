"""PyTorch's default: the forget gate's bias is around zero."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("lstm",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"ids": ("T", "N")}, integers=["ids"])
    h = net.embedding("embedding", "ids", 50, 16)
    h = net.recurrent("LSTM", "lstm", h, 32)
    net.output(net.linear("head", h, 50), "logits")
    net.save(path)
