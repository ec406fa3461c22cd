"""A mean divided by softplus of a predicted scale, plus 1e-4."""

from __future__ import annotations

import numpy as np

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Relu", "relu1", h)
    mean = net.linear("mean", h, 10)
    scale = net.activation("Softplus", "softplus", net.linear("scale", h, 10))
    scale = net.node("Add", "", [scale, net.constant("", np.array(1e-4, np.float32))])
    net.output(net.node("Div", "", [mean, scale]), "score")
    net.save(path)
