"""Where logarithms, roots, divisions and exponentials end: healthy spellings stay clear of it, faulty ones do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.load.canonical_models import graph_of
from trainaudit.measure.facts import FactValue, Unmeasured
from trainaudit.measure.measuring import measure

DRAWN = np.random.default_rng(1)
WEIGHTS = {
    "w": (DRAWN.normal(size=(8, 32)) / 8**0.5).astype(np.float32),
    "v": (DRAWN.normal(size=(32, 16)) / 32**0.5).astype(np.float32),
    "u": (DRAWN.normal(size=(32, 16)) / 32**0.5).astype(np.float32),
    **{name: np.float32(value) for name, value in {
        "zero": 0, "one": 1, "two": 2, "half": 0.5, "third": 1 / 3, "minus_one": -1, "hundred": 100, "tiny": 1e-6, "floor": 1e-12,
    }.items()},
    "last": np.array([-1]), "axis0": np.array([0]), "axis1": np.array([1]),
}  # fmt: skip
HIDDEN = "h = MatMul(x, w) r = Relu(h) z = MatMul(r, v) "
PAIRS = (
    "p = Unsqueeze(z, axis1) q = Unsqueeze(z, axis0) d = Sub(p, q) s = Mul(d, d) t = ReduceSum<keepdims = 0>(s, last) "
)

HEALTHY = {
    "log-softmax by hand": "m = ReduceMax(z, last) d = Sub(z, m) e = Exp(d) s = ReduceSum(e, last) l = Log(s) k = Sub(z, l) y = Sub(k, m)",
    "log-sum-exp": "y = ReduceLogSumExp(z, last)",
    "log of sigmoid plus epsilon": "s = Sigmoid(z) t = Add(s, tiny) y = Log(t)",
    "log of clamped softmax": "s = Softmax<axis = -1>(z) t = Clip(s, tiny) y = Log(t)",
    "log1p of relu": "s = Relu(z) t = Add(s, one) y = Log(t)",
    "log of softplus plus epsilon": "s = Softplus(z) t = Add(s, tiny) y = Log(t)",
    "log of maximum": "s = Relu(z) t = Max(s, tiny) y = Log(t)",
    "guarded twice": "c = Greater(z, half) t = Clip(z, half) l = Log(t) y = Where(c, l, z)",
    "binary cross-entropy by hand": "s = Sigmoid(z) t = Clip(s, tiny, half) a = Log(t) n = Sub(one, t) b = Log(n) y = Add(a, b)",
    "vae": "s = Mul(z, half) y = Exp(s)",
    "predicted scale": "q = MatMul(r, u) s = Softplus(q) t = Add(s, tiny) y = Div(z, t)",
    "exponential scale": "q = MatMul(r, u) s = Exp(q) y = Div(z, s)",
    "softsign": "a = Abs(z) s = Add(a, one) y = Div(z, s)",
    "mean over a mask": "c = Greater(z, zero) f = Cast<to = 1>(c) s = ReduceSum(f, last) t = Max(s, one) a = ReduceSum(z, last) y = Div(a, t)",
    "cosine similarity": "q = MatMul(r, u) k = Mul(z, q) s = ReduceSum(k, last) a = ReduceL2(z, last) b = ReduceL2(q, last) m = Mul(a, b) t = Max(m, tiny) y = Div(s, t)",
    "distance with epsilon": PAIRS + "g = Add(t, floor) y = Sqrt(g)",
    "hypotenuse": "s = Mul(z, z) t = Add(s, one) y = Sqrt(t)",
    "generalized mean": "s = Clip(z, tiny) t = Pow(s, two) m = ReduceMean(t, last) y = Pow(m, third)",
    "layer norm by hand": "m = ReduceMean(z, last) d = Sub(z, m) s = Mul(d, d) k = ReduceMean(s, last) g = Sqrt(k) t = Add(g, tiny) y = Div(d, t)",
    "degree normalization": "s = Sigmoid(z) t = ReduceSum(s, last) g = Add(t, one) k = Sqrt(g) i = Reciprocal(k) y = Mul(z, i)",
    "linear attention": "e = Elu(z) f = Add(e, one) s = ReduceSum(f, last) y = Div(f, s)",
    "tanh by hand": "a = Mul(z, two) e = Exp(a) n = Sub(e, one) d = Add(e, one) y = Div(n, d)",
}  # fmt: skip

FAULTY = {
    "log of a linear layer": ("y = Log(z)", "smallest_operand"),
    "log of relu": ("s = Relu(z) y = Log(s)", "smallest_operand"),
    "log of tanh": ("s = Tanh(z) y = Log(s)", "smallest_operand"),
    "log of one minus sigmoid": ("s = Sigmoid(z) t = Sub(one, s) y = Log(t)", "smallest_operand"),
    "log of absolute": ("s = Abs(z) y = Log(s)", "smallest_operand"),
    "division by a linear layer": ("q = MatMul(r, u) y = Div(z, q)", "smallest_divisor"),
    "division by relu": ("q = MatMul(r, u) s = Relu(q) y = Div(z, s)", "smallest_divisor"),
    "epsilon beside a divisor of both signs": ("q = MatMul(r, u) s = Add(q, tiny) y = Div(z, s)", "smallest_divisor"),
    "reciprocal": ("y = Reciprocal(z)", "smallest_divisor"),
    "negative power": ("y = Pow(z, minus_one)", "smallest_divisor"),
    "root of a linear layer": ("y = Sqrt(z)", "smallest_operand"),
    "distances of a batch to itself": (PAIRS + "y = Sqrt(t)", "smallest_operand"),
}  # fmt: skip


def facts(folder: Path, body: str, **declared: tuple[float, float]) -> dict[str, FactValue]:
    """Fact → its value at the last layer that has it."""
    graph = graph_of(folder, body, WEIGHTS)
    columns = measure(graph, loss=None, expects={}, ranges=declared).columns
    names = ("smallest_operand", "smallest_divisor", "largest_exponent", "exponent_limit", "operand_has_zeros")
    found = {name: list(columns[f"layer.{name}"].values()) for name in names}
    return {name: values[-1] for name, values in found.items() if values}


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy(name: str, tmp_path: Path) -> None:
    found = facts(tmp_path, HIDDEN + HEALTHY[name])
    for fact in ("smallest_operand", "smallest_divisor"):
        value = found.get(fact, 1.0)
        assert isinstance(value, Unmeasured) or value > 0.0
    exponent = found.get("largest_exponent", 0.0)
    assert isinstance(exponent, float)
    assert exponent < 20.0


def test_healthy_spellings_are_mostly_decided(tmp_path: Path) -> None:
    """Being left open is no way to stay silent."""
    found = [facts(tmp_path, HIDDEN + body) for body in HEALTHY.values()]
    assert not [values for values in found if any(isinstance(value, Unmeasured) for value in values.values())]


@pytest.mark.parametrize("name", FAULTY)
def test_faulty(name: str, tmp_path: Path) -> None:
    body, fact = FAULTY[name]
    value = facts(tmp_path, HIDDEN + body)[fact]
    assert isinstance(value, float)
    assert value <= 0.0


@pytest.mark.parametrize(("dtype", "limit"), [("", 88.72), ("16", 11.09)])
def test_exponentials_know_their_type(dtype: str, limit: float, tmp_path: Path) -> None:
    cast = "c = Cast<to = 10>(t) " if dtype else "c = Identity(t) "
    found = facts(tmp_path, HIDDEN + "t = Mul(z, hundred) " + cast + "e = Exp(c) y = Cast<to = 1>(e)")
    assert found["exponent_limit"] == pytest.approx(limit, abs=0.01)
    assert isinstance(found["largest_exponent"], float)
    assert found["largest_exponent"] > 100.0


def test_a_softmax_without_its_maximum_taken_off(tmp_path: Path) -> None:
    bare = facts(tmp_path, HIDDEN + "t = Mul(z, hundred) e = Exp(t) s = ReduceSum(e, last) y = Div(e, s)")
    assert isinstance(bare["largest_exponent"], float)
    assert bare["largest_exponent"] > 88.8
    stable = "t = Mul(z, hundred) m = ReduceMax(t, last) d = Sub(t, m) e = Exp(d) s = ReduceSum(e, last) y = Div(e, s)"
    assert "largest_exponent" not in facts(tmp_path, HIDDEN + stable)


MASK = "q = MatMul(r, u) c = Greater(q, zero) f = Cast<to = 1>(c) "


def distances(z: Any, q: Any) -> Any:
    return ((z[:, None] - z[None]) ** 2).sum(-1).sqrt()


ROOTS: dict[str, tuple[str, Callable[[Any, Any], Any], bool]] = {
    "of a rectified value": ("s = Relu(z) y = Sqrt(s)", lambda z, _: z.relu().sqrt(), False),
    "half power of a rectified value": ("s = Relu(z) y = Pow(s, half)", lambda z, _: z.relu() ** 0.5, False),
    "of an absolute value": ("s = Abs(z) y = Sqrt(s)", lambda z, _: z.abs().sqrt(), False),
    "of a sum of squares": (
        "s = Mul(z, z) t = ReduceSum(s, last) y = Sqrt(t)",
        lambda z, _: (z * z).sum(-1).sqrt(),
        False,
    ),
    "of a masked value": (MASK + "a = Abs(z) s = Mul(a, f) y = Sqrt(s)", lambda z, q: (z.abs() * (q > 0)).sqrt(), True),
    "of distances of a batch to itself": (PAIRS + "y = Sqrt(t)", distances, True),
}


@pytest.mark.parametrize("name", ROOTS)
def test_roots_of_zero_against_autograd(name: str, tmp_path: Path) -> None:
    """What is called a zero that passes a gradient on gives NaN in torch, and nothing else does."""
    torch = pytest.importorskip("torch")
    body, function, is_faulty = ROOTS[name]
    found = facts(tmp_path, HIDDEN + body)
    assert found["operand_has_zeros"] is is_faulty
    weights = {key: torch.tensor(WEIGHTS[key], requires_grad=True) for key in "wvu"}
    r = (torch.tensor(DRAWN.normal(size=(256, 8)).astype(np.float32)) @ weights["w"]).relu()
    function(r @ weights["v"], r @ weights["u"]).sum().backward()
    assert bool(weights["v"].grad.isnan().any()) is is_faulty


def test_lengths_of_one_operator_are_safe(tmp_path: Path) -> None:
    """Even between a point and itself."""
    torch = pytest.importorskip("torch")
    assert facts(tmp_path, HIDDEN + PAIRS + "y = ReduceL2<keepdims = 0>(d, last)") == {}
    z = torch.randn(5, 3, requires_grad=True)
    (z[:, None] - z[None]).norm(dim=-1).sum().backward()
    assert torch.isfinite(z.grad).all()


def test_a_condition_that_chooses_among_results(tmp_path: Path) -> None:
    """log(x) where x > 0 is fine; the gradient of the logarithm of a masked value is not, whatever is chosen."""
    for operand in ("p = Identity(z) ", "p = Relu(z) "):
        guarded = facts(tmp_path, HIDDEN + "c = Greater(z, zero) " + operand + "l = Log(p) y = Where(c, l, zero)")
        assert isinstance(guarded["smallest_operand"], Unmeasured)
    trapped = facts(tmp_path, HIDDEN + MASK + "a = Abs(z) p = Mul(a, f) l = Log(p) y = Where(c, l, zero)")
    assert trapped["smallest_operand"] == 0.0


def test_declared_inputs(tmp_path: Path) -> None:
    assert isinstance(facts(tmp_path, "y = Log(x)")["smallest_operand"], Unmeasured)
    assert facts(tmp_path, "y = Log(x)", x=(0.5, 2.0))["smallest_operand"] == 0.5
    assert facts(tmp_path, "y = Log(x)", x=(0.0, 1.0))["smallest_operand"] == 0.0


def test_what_no_input_decides_has_no_facts(tmp_path: Path) -> None:
    assert facts(tmp_path, "s = Shape(x) f = Cast<to = 1>(s) k = Sqrt(f) y = Mul(x, one)") == {}


@pytest.mark.parametrize(
    ("body", "bound"),
    [
        ("s = Mul(z, z) t = ReduceSum(s, last) y = Sqrt(t)", 0.0),
        ("s = Mul(z, z) t = ReduceSum(s, last) g = Add(t, floor) y = Sqrt(g)", 1e-12),
    ],
)
def test_a_length_comes_near_zero_only_for_a_vector_of_zeros(body: str, bound: float, tmp_path: Path) -> None:
    found = facts(tmp_path, HIDDEN + body)
    graph = measure(graph_of(tmp_path, HIDDEN + body, WEIGHTS), loss=None, expects={}).columns
    assert next(iter(graph["layer.operand_bound"].values())) == pytest.approx(bound)
    assert isinstance(found["smallest_operand"], float)
    assert found["smallest_operand"] > 0.0
    assert found["operand_has_zeros"] is False
