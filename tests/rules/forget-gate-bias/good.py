"""The forget gate's bias is one."""

from __future__ import annotations

import numpy as np

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"ids": ("T", "N")}, integers=["ids"])
    h = net.embedding("embedding", "ids", 50, 16)
    bias = np.zeros(8 * 32)  # input and recurrent bias of the gates input, output, forget, cell
    bias[64:96] = 1.0
    h = net.recurrent("LSTM", "lstm", h, 32, bias_values=bias)
    net.output(net.linear("head", h, 50), "logits")
    net.save(path)
