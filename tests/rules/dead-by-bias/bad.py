"""A bias of −6 keeps three quarters of the ReLU units shut."""

from __future__ import annotations

import numpy as np

from tests.models.network import Network

VIOLATES = ("fc1",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64, bias_values=np.repeat([-6.0, 0.0], [48, 16]))
    h = net.activation("Relu", "relu1", h)
    h = net.linear("fc2", h, 64)
    h = net.activation("Relu", "relu2", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
