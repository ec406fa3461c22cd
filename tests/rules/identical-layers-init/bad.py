"""A deep copy gives three layers one draw."""

from __future__ import annotations

import numpy as np

from tests.models import initial
from tests.models.network import Network

VIOLATES = ("layers.0.weight", "layers.1.weight", "layers.2.weight")
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 64)})
    copy = initial.torch_default(np.random.default_rng(7), (64, 64))
    h = net.activation("Relu", "relu1", net.linear("layers.0", "x", 64, weight=copy))
    h = net.activation("Relu", "relu2", net.linear("layers.1", h, 64, weight=copy))
    h = net.activation("Relu", "relu3", net.linear("layers.2", h, 64, weight=copy))
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
