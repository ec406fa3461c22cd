"""exp of 1000 times a linear layer's output."""

from __future__ import annotations

import numpy as np

from tests.models.network import Network

VIOLATES = ("/Exp",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Relu", "relu1", h)
    h = net.linear("head", h, 10)
    h = net.node("Mul", "", [h, net.constant("", np.array(1000.0, np.float32))])
    net.output(net.node("Exp", "", [h]), "rate")
    net.save(path)
