"""Every layer's result is multiplied by 10."""

from __future__ import annotations

import numpy as np

from tests.models import initial
from tests.models.network import Network

VIOLATES = ("layers.0 … layers.5",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 64)})
    h = "x"
    for k in range(6):
        h = net.linear(f"layers.{k}", h, 64, weight=initial.he_normal)
        h = net.activation("Relu", f"relu.{k}", h)
        h = net.node("Mul", f"scale.{k}", [h, net.constant(f"scale.{k}", np.array(10.0, np.float32))])
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
