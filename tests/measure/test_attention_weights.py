"""Attention scores, tied logits and positions, on hand-made graphs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.measure.weight_graphs import Array, normal, parameter
from trainaudit.ir.graph import Attribute, Graph, Layer, Origin, Parameter, Role, Value
from trainaudit.ir.ops import Op
from trainaudit.measure.facts import FactValue, Unmeasured
from trainaudit.measure.static.weights import measure_weights

WIDTH = 64


class Builder:
    """Adds layers one by one and remembers who reads what."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.parameters: dict[str, Parameter] = {}
        self.producer: dict[str, int] = {}

    def add(
        self,
        name: str,
        op: Op,
        inputs: tuple[str, ...],
        tensors: dict[Role, Array | str] | None = None,
        **attributes: Attribute,
    ) -> str:
        index, roles = len(self.layers), {}
        for role, tensor in (tensors or {}).items():
            if isinstance(tensor, str):
                roles[role.value] = tensor
                own = self.parameters[tensor]
                self.parameters[tensor] = replace(own, owners=(*own.owners, index))
            else:
                roles[role.value] = f"{name}.{role.value}"
                self.parameters[f"{name}.{role.value}"] = parameter(tensor, role, f"{name}.{role.value}", index)
        self.layers.append(Layer(index, name, op, op.value, inputs, (name,), roles, attributes))
        self.producer[name] = index
        return name

    def linear(self, name: str, source: str, weight: Array) -> str:
        return self.add(
            name, Op.LINEAR, (source,), {Role.WEIGHT: weight}, in_features=weight.shape[1], out_features=weight.shape[0]
        )

    def graph(self) -> Graph:
        values = {}
        for name in ("x", "ids", *self.producer):
            readers = tuple(layer.index for layer in self.layers if name in layer.inputs)
            values[name] = Value(name, None, "float32", self.producer.get(name), readers)
        return Graph(
            tuple(self.layers), values, self.parameters, ("x", "ids"), (self.layers[-1].name,), Origin("", "test", 0)
        )


def fact(of: Builder, name: str, subject: str) -> FactValue:
    return measure_weights(of.graph(), {})[name][subject]


def attention(of: Builder, q: str, k: str, v: str, scale: float = 0.25) -> FactValue:
    of.add("attention", Op.ATTENTION, (q, k, v), scale=scale, head_dim=16)
    return fact(of, "layer.attention_logit_std", "attention")


def gained(gain: float, units: int = WIDTH, seed: int = 0) -> Array:
    return normal(units, WIDTH, std=gain / math.sqrt(WIDTH), seed=seed)


def test_scores_of_separate_projections() -> None:
    of = Builder()
    heads = [
        of.add(f"{n}h", Op.RESHAPE, (of.linear(n, "x", gained(g, seed=i)),))
        for i, (n, g) in enumerate(zip("qkv", (2.0, 0.5, 9.0), strict=True))
    ]
    assert attention(of, *heads) == pytest.approx(0.25 * 4 * 2.0 * 0.5, rel=0.05)


def test_prediction_matches_the_scores_themselves() -> None:
    q, k, x = gained(1.5), gained(0.7, seed=1), normal(400, WIDTH, std=1.0, seed=2)
    heads = 0.25 * np.einsum("ihd,jhd->hij", (x @ q.T).reshape(400, 4, 16), (x[::-1] @ k.T).reshape(400, 4, 16))
    of = Builder()
    predicted = attention(of, of.linear("q", "x", q), of.linear("k", "x", k), of.linear("v", "x", gained(1.0)))
    assert predicted == pytest.approx(heads.std(), rel=0.1)


def test_scores_of_one_packed_projection_use_its_thirds() -> None:
    packed = np.concatenate([gained(3.0), gained(0.5, seed=1), gained(20.0, seed=2)])
    of = Builder()
    of.linear("qkv", "x", packed)
    parts = [of.add(f"part{i}", Op.SPLIT, ("qkv",)) for i in range(3)]
    assert attention(of, *parts) == pytest.approx(3.0 * 0.5, rel=0.08)


def test_scores_behind_rotary_positions() -> None:
    of = Builder()
    turned = []
    for name in "qk":
        of.linear(name, "x", gained(2.0, seed=ord(name)))
        of.add(f"{name}t", Op.TRANSPOSE, (name,))
        half = of.add(f"{name}s", Op.SLICE, (f"{name}t",))
        negative = of.add(f"{name}n", Op.NEG, (half,))
        rotated = of.add(f"{name}c", Op.CONCAT, (negative, half))
        one = of.add(f"{name}m1", Op.MUL, (f"{name}t", "cos"))
        two = of.add(f"{name}m2", Op.MUL, (rotated, "sin"))
        turned.append(of.add(f"{name}a", Op.ADD, (one, two)))
    assert attention(of, *turned, of.linear("v", "x", gained(1.0))) == pytest.approx(4.0, rel=0.05)


def test_normalized_queries_and_keys_have_unit_gain() -> None:
    of = Builder()
    normed = []
    for name in "qk":
        of.linear(name, "x", gained(30.0))
        normed.append(of.add(f"{name}n", Op.RMS_NORM, (name,), {Role.SCALE: np.ones(16, np.float32)}))
    assert attention(of, *normed, "x") == pytest.approx(1.0)


def test_scores_that_cannot_be_traced() -> None:
    of = Builder()
    assert isinstance(attention(of, "x", "x", "x"), Unmeasured)


def tied(std: float, before: float | None = None, behind: float | None = None) -> Builder:
    of = Builder()
    of.add(
        "token", Op.EMBEDDING, ("ids",), {Role.EMBEDDING: normal(300, WIDTH, std=std)}, vocabulary_size=300, width=WIDTH
    )
    last = of.add("norm", Op.LAYER_NORM, ("token",))
    if before is not None:
        last = of.add("scaled", Op.MUL, (last,), scalar=before, scalar_side="right")
    of.add("head", Op.LINEAR, (last,), {Role.WEIGHT: "token.embedding"}, in_features=WIDTH, out_features=300)
    if behind is not None:
        of.add("divided", Op.DIV, ("head",), scalar=behind, scalar_side="right")
    return of


def test_logits_of_a_tied_embedding() -> None:
    assert fact(tied(1.0), "parameter.tied_logit_std", "token.embedding") == pytest.approx(8.0, rel=0.02)
    assert fact(tied(1.0, before=0.125), "parameter.tied_logit_std", "token.embedding") == pytest.approx(1.0, rel=0.02)
    assert fact(tied(0.5, behind=2.0), "parameter.tied_logit_std", "token.embedding") == pytest.approx(2.0, rel=0.02)


def test_position_scale() -> None:
    of = Builder()
    of.add("token", Op.EMBEDDING, ("ids",), {Role.EMBEDDING: normal(300, WIDTH, std=0.02)})
    of.add("scaled", Op.MUL, ("token",), scalar=8.0)
    of.add("kind", Op.EMBEDDING, ("ids",), {Role.EMBEDDING: normal(2, WIDTH, std=5.0)})
    of.add("sum", Op.ADD, ("scaled", "kind"))
    of.add("place", Op.EMBEDDING, ("ids",), {Role.POSITION: normal(50, WIDTH, std=0.04)})
    of.add("both", Op.ADD, ("sum", "place"))
    assert fact(of, "parameter.position_scale_ratio", "token.embedding") == pytest.approx(4.0, rel=0.05)


def test_position_scale_of_an_added_tensor() -> None:
    of = Builder()
    of.add("token", Op.EMBEDDING, ("ids",), {Role.EMBEDDING: normal(300, WIDTH, std=1.0)})
    of.add("both", Op.ADD, ("token",), {Role.POSITION: normal(50, WIDTH, std=0.02)})
    assert fact(of, "parameter.position_scale_ratio", "token.embedding") == pytest.approx(50.0, rel=0.05)
