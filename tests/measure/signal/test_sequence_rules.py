"""Rules for attention, recurrence, embeddings, products and softmax: networks of a few layers against autograd on the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.models.graphs import GraphBuilder
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.propagation import predict
from trainaudit.measure.signal.softmax_moments import causal_moments, softmax_moments

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
nn = torch.nn

from benchmarks.signal import hold_against  # noqa: E402
from benchmarks.signal_networks import VOCABULARY, First, Join, Mean, Network, Pick, Position, Product, SelfAttention  # noqa: E402

WIDTH, STEPS = 64, 12
NEAR = 0.15
"""Decades: what chance makes of the smallest parameters, of ten elements, stays below."""


class Apply(nn.Module):
    """A function as a module of its own."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *values):
        return self.function(*values)


class Two(nn.Module):
    """A product of two branches."""

    def __init__(self, first, second, product) -> None:
        super().__init__()
        self.first, self.second, self.product = first, second, product

    def forward(self, x):
        return self.product(self.first(x), self.second(x))


class States(nn.Module):
    """An encoder's last state starts the decoder (Sutskever et al. 2014)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.decoder = nn.GRU(WIDTH, WIDTH, batch_first=True)

    def forward(self, x):
        _, last = self.encoder(x)
        return self.decoder(x, last)[0]


class OneKey(nn.Module):
    """Multi-query attention: all heads share keys and values (Shazeer 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = linear(), linear(16), linear(16)
        self.attend = Apply(self.mixed)

    def mixed(self, q, k, v):
        q = q.view(-1, STEPS, 4, 16).transpose(1, 2)
        weights = (q @ k.unsqueeze(1).transpose(2, 3) / 4.0).softmax(-1)
        return (weights @ v.unsqueeze(1)).transpose(1, 2).reshape(-1, STEPS, WIDTH)

    def forward(self, x):
        return self.attend(self.query(x), self.key(x), self.value(x))


class LearntBias(nn.Module):
    """A learnt number for each head and distance is added to the scores (Raffel et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = linear(), linear(), linear()
        self.bias = nn.Parameter(torch.randn(4, STEPS, STEPS))
        self.attend = Apply(self.mixed)

    def mixed(self, *projected):
        q, k, v = (x.view(-1, STEPS, 4, 16).transpose(1, 2) for x in projected)
        weights = (q @ k.transpose(2, 3) / 4.0 + self.bias).softmax(-1)
        return (weights @ v).transpose(1, 2).reshape(-1, STEPS, WIDTH)

    def forward(self, x):
        return self.attend(self.query(x), self.key(x), self.value(x))


class SelfGated(nn.Module):
    """x · tanh(x), which no loader knows by name."""

    def __init__(self) -> None:
        super().__init__()
        self.bend, self.product = nn.Tanh(), Product()

    def forward(self, x):
        return self.product(x, self.bend(x))


class Tied(nn.Module):
    """Logits by the table of the embedding itself."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.middle = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return self.middle(self.table(x)) @ self.table.weight.T


def linear(out: int = WIDTH, inside: int = WIDTH):
    return nn.Linear(inside, out)


def on_tokens(*layers):
    return Network(
        lambda: nn.Sequential(nn.Embedding(VOCABULARY, WIDTH), *[make() for make in layers]), (STEPS,), tokens=True
    )


def on_vectors(*layers):
    return Network(lambda: nn.Sequential(*[make() for make in layers]), (WIDTH,), batch=256)


def sequence(cell, **options):
    return lambda: First(cell(WIDTH, WIDTH, batch_first=True, **options))


NETWORKS = {
    "gate": on_vectors(linear, lambda: Two(nn.Sequential(linear(), nn.Sigmoid()), linear(), Product()), linear),
    "square": on_vectors(linear, lambda: Apply(lambda x: x * x), linear),
    "self-gated": on_vectors(linear, SelfGated, linear),
    "glu": on_vectors(lambda: linear(2 * WIDTH), nn.GLU, linear),
    "softmax": on_vectors(linear, lambda: nn.Softmax(-1), linear),
    "softmax at the end": on_vectors(linear, nn.ReLU, lambda: linear(10), lambda: nn.Softmax(-1)),
    "log-softmax at the end": on_vectors(linear, nn.ReLU, lambda: linear(10), lambda: nn.LogSoftmax(-1)),
    "softmax over positions": on_tokens(lambda: nn.Softmax(1), linear),
    "running sum": on_tokens(linear, lambda: Apply(lambda x: x.cumsum(1)), linear),
    "pooling by learnt weights": on_tokens(
        lambda: Two(nn.Sequential(linear(1), nn.Softmax(1)), linear(), Product()), Mean, linear
    ),
    "attention": on_tokens(lambda: SelfAttention(WIDTH), linear),
    "causal attention": on_tokens(lambda: SelfAttention(WIDTH, causal=True), linear),
    "multi-query attention": on_tokens(OneKey, linear),
    "attention with a learnt bias": on_tokens(LearntBias, linear),
    "products of queries and keys": on_tokens(
        lambda: Two(linear(), linear(), Apply(lambda q, k: q @ k.transpose(1, 2))), lambda: linear(WIDTH, STEPS)
    ),
    "linear attention": on_tokens(
        lambda: Two(linear(), Two(linear(), linear(), Apply(lambda k, v: k.transpose(1, 2) @ v)), Apply(torch.matmul)), linear
    ),
    "positions stored": on_tokens(lambda: Position(STEPS, WIDTH), linear),
    "bidirectional lstm": on_tokens(sequence(nn.LSTM, bidirectional=True), lambda: linear(10, 2 * WIDTH)),
    "bidirectional gru": on_tokens(sequence(nn.GRU, bidirectional=True), lambda: linear(10, 2 * WIDTH)),
    "states handed over": on_tokens(States, linear),
    "last step of an lstm": on_tokens(sequence(nn.LSTM), lambda: Pick(-1), linear),
    "relu rnn": on_tokens(sequence(nn.RNN, nonlinearity="relu"), linear),
    "joined sequences": on_tokens(
        lambda: Two(sequence(nn.LSTM)(), sequence(nn.GRU)(), Join(2)), lambda: linear(10, 2 * WIDTH)
    ),
}  # fmt: skip


@pytest.mark.parametrize("initialization", ["default", "he"])
@pytest.mark.parametrize("name", NETWORKS)
def test_predictions_are_near_what_autograd_measures(name: str, initialization: str, tmp_path: Path) -> None:
    cell = hold_against(NETWORKS[name], name, initialization, tmp_path)
    assert cell.uncovered == ()
    assert [q.name for q in cell.quantities if q.predicted is None] == []
    assert [(q.kind, q.name, q.measured, q.predicted) for q in cell.quantities if q.error > NEAR] == []


def test_a_tied_table_gets_the_gradients_of_both_its_uses(tmp_path: Path) -> None:
    cell = hold_against(Network(Tied, (STEPS,), tokens=True), "tied", "default", tmp_path)
    errors = {q.name: q.error for q in cell.quantities if q.kind == "parameter"}
    assert errors["table.weight"] < NEAR
    assert errors["middle.weight"] < NEAR


def test_a_table_of_counted_positions_has_one_hit_a_row() -> None:
    table = np.random.default_rng(0).normal(0.0, 0.5, (20, 8))
    g = GraphBuilder({"x": ("N", 5, 8)})
    size = g.layer(Op.SHAPE, "size", "x", shape=(3,))
    ids = g.layer(Op.RANGE, "ids", size, shape=(5,))
    places = g.layer(Op.EMBEDDING, "places", ids, shape=(5, 8), embedding=table, vocabulary_size=20, width=8)
    prediction = predict(g.graph(g.layer(Op.ADD, "sum", "x", places, shape=("N", 5, 8))))
    signal = prediction.signals["places"]
    assert signal.mean == pytest.approx(table[:5].mean(axis=0), rel=1e-6)
    assert signal.variance == pytest.approx(table[:5].var(axis=0), rel=1e-6)
    # a standard normal gradient at 5 of 20 rows
    assert prediction.parameter_gradients["places.embedding"] == pytest.approx(np.sqrt(5 / 20))


@pytest.mark.parametrize("count", [2, 5, 64])
@pytest.mark.parametrize("std", [0.02, 0.5, 2.0, 8.0, 40.0])
def test_moments_of_softmax_weights(count: int, std: float) -> None:
    scores = np.random.default_rng(1).normal(0.0, std, (40_000, count))
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    log_sum = scores.max(axis=1) + np.log(weights.sum(axis=1))
    weights /= weights.sum(axis=1, keepdims=True)
    squares = (weights**2).sum(axis=1)
    moments = softmax_moments(count, std)
    assert moments.squares == pytest.approx(squares.mean(), rel=0.02)
    assert moments.jacobian == pytest.approx((squares - 2.0 * (weights**3).sum(axis=1) + squares**2).mean(), rel=0.1)
    assert moments.log_sum == pytest.approx(log_sum.mean(), rel=0.02)


def test_moments_under_a_causal_mask() -> None:
    count, std = 20, 1.5
    scores = np.random.default_rng(2).normal(0.0, std, (20_000, count))
    found = [np.exp(scores[:, : row + 1]) for row in range(count)]
    squares = np.mean([((p / p.sum(axis=1, keepdims=True)) ** 2).sum(axis=1).mean() for p in found])
    assert causal_moments(count, std).squares == pytest.approx(squares, rel=0.02)
