"""The batch comes first before view merges the others."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 8, 16)})
    h = net.transpose("to_time_first", "x", (1, 0, 2))
    h = net.recurrent("LSTM", "lstm", h, 32)
    h = net.transpose("to_batch_first", h, (1, 0, 2))
    h = net.reshape("view", h, (-1, 8 * 32), ("N", 8 * 32))
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
