"""Distances between all pairs of a batch: those on the diagonal are exactly zero."""

from __future__ import annotations

import numpy as np

from tests.models.network import Network

VIOLATES = ("/Sqrt",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Relu", "relu1", h)
    h = net.linear("embed", h, 16)
    rows = net.node("Unsqueeze", "", [h, net.constant("", np.array([1], np.int64))], ("N", 1, 16))
    columns = net.node("Unsqueeze", "", [h, net.constant("", np.array([0], np.int64))], (1, "N", 16))
    difference = net.node("Sub", "", [rows, columns], ("N", "N", 16))
    square = net.node("Mul", "", [difference, difference])
    total = net.node("ReduceSum", "", [square, net.constant("", np.array([2], np.int64))], ("N", "N"), keepdims=0)
    net.output(net.node("Sqrt", "", [total]), "distance")
    net.save(path)
