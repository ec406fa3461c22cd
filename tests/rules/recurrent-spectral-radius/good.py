"""An orthogonal matrix keeps norms."""

from __future__ import annotations

from tests.models import initial
from tests.models.network import Network


def build(path: str) -> None:
    net = Network({"x": ("T", "N", 16)})
    h = net.recurrent("RNN", "rnn", "x", 32, recurrent_weight=initial.orthogonal)
    net.output(net.linear("head", h, 10), "logits")
    net.save(path)
