"""A factor of 30,000 between two layers of a float16 model."""

from __future__ import annotations

import numpy as np

from tests.models.network import Network

VIOLATES = ("fc2",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 64)}, dtype="float16")
    h = net.activation("Relu", "relu1", net.linear("fc1", "x", 64))
    h = net.node("Mul", "", [h, net.constant("", np.array(30_000.0, np.float16))])
    h = net.layer_norm("norm", net.linear("fc2", h, 64))
    net.output(net.linear("head", net.activation("Relu", "relu2", h), 10), "logits")
    net.save(path)
