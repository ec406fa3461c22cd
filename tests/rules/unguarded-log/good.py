"""log(relu(x) + 1e-6)."""

from __future__ import annotations

import numpy as np

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Relu", "relu1", h)
    h = net.linear("head", h, 10)
    h = net.activation("Relu", "rate", h)
    h = net.node("Add", "rate", [h, net.constant("rate", np.array(1e-6, np.float32))])
    net.output(net.node("Log", "rate", [h]), "log_rate")
    net.save(path)
