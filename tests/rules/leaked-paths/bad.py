"""A stack trace with the exporter's own folder."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("model",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 32)})
    h = net.linear("fc1", "x", 64)
    net.annotate(h, "pkg.torch.onnx.stack_trace", 'File "/home/alice/secret/model.py", line 9, in forward')
    h = net.activation("Relu", "relu1", h)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
