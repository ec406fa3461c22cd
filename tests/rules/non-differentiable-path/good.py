"""A straight-through estimator."""

from __future__ import annotations

from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    h = net.activation("Sigmoid", "sigmoid1", h)
    step = net.node("Sub", "", [net.node("Round", "", [h]), h])
    h = net.add("", h, step)  # the gradient passes beside the step
    h = net.linear("fc2", h, 64)
    h = net.activation("Relu", "relu2", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
