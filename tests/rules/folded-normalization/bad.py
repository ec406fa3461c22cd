"""The exporter folded BatchNorm into conv1."""

from __future__ import annotations

from tests.models.network import Network

VIOLATES = ("model",)
"""Subjects on which the rule is violated."""


def build(path: str) -> None:
    net = Network({"x": ("N", 3, 16, 16)})
    h = net.conv("conv1", "x", 16, 3, padding=1)
    net.annotate(h, "pkg.onnxscript.rewriter.rule_name", "FuseBatchNormIntoConv")
    h = net.activation("Relu", "relu1", h)
    net.output(net.linear("head", net.pool("pool", h), 10), "logits")
    net.save(path)
