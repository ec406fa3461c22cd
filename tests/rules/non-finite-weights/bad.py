"""One NaN in fc1."""

from __future__ import annotations

import numpy as np

from tests.models import initial
from tests.models.network import Network

VIOLATES = ("fc1.weight",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    weight = initial.torch_default(net.random, (64, 32))
    weight[3, 17] = np.nan
    h = net.linear("fc1", "x", 64, weight=weight)
    h = net.activation("Relu", "relu1", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
