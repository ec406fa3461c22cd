"""The length of an embedding, with an ε under the root."""

from __future__ import annotations

import numpy as np

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.activation("Relu", "relu1", net.linear("fc1", "x", 64))
    h = net.linear("embed", h, 16)
    square = net.node("Mul", "", [h, h])
    total = net.node("ReduceSum", "", [square, net.constant("", np.array([1], np.int64))], ("N",), keepdims=0)
    total = net.node("Add", "", [total, net.constant("", np.array(1e-12, np.float32))])
    net.output(net.node("Sqrt", "", [total]), "length")
    net.save(path)
