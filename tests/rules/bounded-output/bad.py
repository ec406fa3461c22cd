"""tanh on the output of a regression."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("logits",)
"""Subjects on which the rule is violated."""

LOSS = "mse"


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.activation("Relu", "relu1", net.linear("fc1", "x", 64))
    h = net.activation("Tanh", "tanh", net.linear("head", h, 3))
    net.output(h, "logits")
    net.save(path)
