"""The weight of old is stored, and no layer reads it."""

from __future__ import annotations

import numpy as np

from tests.models.network import Network

VIOLATES = ("old.weight",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Relu", "relu1", h)
    net.parameter("old.weight", net.random.uniform(-0.125, 0.125, (64, 64)).astype(np.float32))
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
