"""A mask of −1e9 in float16."""

from __future__ import annotations

import numpy as np

from tests.models.network import Network

VIOLATES = ("attention.attention",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 16, 64)}, dtype="float16")
    causal = np.triu(np.full((16, 16), -1e9), 1)
    h = net.layer_norm("norm1", "x")
    h = net.add("", "x", net.attention("attention", h, 4, mask=causal))
    h = net.layer_norm("norm2", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
