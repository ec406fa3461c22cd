"""view on (time, batch, features) tears the examples apart."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("view",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 8, 16)})
    h = net.transpose("to_time_first", "x", (1, 0, 2))
    h = net.recurrent("LSTM", "lstm", h, 32)
    h = net.reshape("view", h, (-1, 8 * 32), ("N", 8 * 32))
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
