"""By 0.9."""

from __future__ import annotations

import numpy as np

from tests.models import initial
from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 64)})
    h = "x"
    for k in range(6):
        h = net.linear(f"layers.{k}", h, 64, weight=initial.he_normal, bias=False)
        h = net.activation("Relu", f"relu.{k}", h)
        h = net.node("Mul", f"scale.{k}", [h, net.constant(f"scale.{k}", np.array(0.9, np.float32))])
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
