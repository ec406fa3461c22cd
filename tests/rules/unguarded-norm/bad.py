"""The length of an embedding."""

from __future__ import annotations

import numpy as np

from tests.models.network import Network

VIOLATES = ("/Sqrt",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.activation("Relu", "relu1", net.linear("fc1", "x", 64))
    h = net.linear("embed", h, 16)
    square = net.node("Mul", "", [h, h])
    total = net.node("ReduceSum", "", [square, net.constant("", np.array([1], np.int64))], ("N",), keepdims=0)
    net.output(net.node("Sqrt", "", [total]), "length")
    net.save(path)
