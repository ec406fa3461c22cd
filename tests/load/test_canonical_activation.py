"""Activation functions are recognised by what they compute, and nothing else is."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.load.canonical_models import graph_of, ops
from trainaudit.load.functions import KNOWN, POINTS, name_function

NUMBERS = {
    name: np.float32(value)
    for name, value in {
        "root2": 2**0.5, "inverse_root2": 2**-0.5, "one": 1, "half": 0.5, "two": 2, "three": 3, "six": 6, "sixth": 1 / 6, "zero": 0,
        "cubic": 0.044715, "c": (2 / np.pi) ** 0.5, "quick": 1.702, "minus_one": -1, "slope": 0.2, "alpha": 0.7, "quarter": 0.25,
        "selu_scale": 1.0507009873554805, "selu_alpha": 1.6732632423543772, "threshold": 0.9,
    }.items()
}  # fmt: skip

PHI = "s = Div(x, root2) e = Erf(s) p = Add(e, one) "
CUBE = "k = Pow(x, three) l = Mul(k, cubic) m = Add(x, l) n = Mul(m, c) t = Tanh(n) p = Add(t, one) "

SPELLINGS: dict[str, tuple[str, str, dict[str, object]]] = {
    "gelu, x·0.5·(1+erf)": (PHI + "h = Mul(x, half) y = Mul(h, p)", "gelu", {"approximate": "none"}),
    "gelu, (x·(1+erf))·0.5": (PHI + "h = Mul(x, p) y = Mul(h, half)", "gelu", {"approximate": "none"}),
    "gelu, x·(0.5·(1+erf))": (PHI + "h = Mul(half, p) y = Mul(x, h)", "gelu", {"approximate": "none"}),
    "gelu, x·(1+erf)/2": (PHI + "h = Mul(p, x) y = Div(h, two)", "gelu", {"approximate": "none"}),
    "gelu, times 1/√2": ("s = Mul(x, inverse_root2) e = Erf(s) p = Add(one, e) h = Mul(x, half) y = Mul(p, h)", "gelu", {"approximate": "none"}),
    "gelu, 0.5·erf + 0.5": ("s = Div(x, root2) e = Erf(s) f = Mul(e, half) p = Add(f, half) y = Mul(x, p)", "gelu", {"approximate": "none"}),
    "gelu, operator": ('y = Gelu<approximate = "tanh">(x)', "gelu", {"approximate": "tanh"}),
    "tanh gelu": (CUBE + "h = Mul(x, half) y = Mul(h, p)", "gelu", {"approximate": "tanh"}),
    "tanh gelu, cube as products": (
        "q = Mul(x, x) k = Mul(q, x) l = Mul(k, cubic) m = Add(x, l) n = Mul(c, m) t = Tanh(n) p = Add(t, one) h = Mul(p, half) y = Mul(h, x)",
        "gelu", {"approximate": "tanh"},
    ),
    "tanh gelu, factored": (
        "q = Mul(x, x) l = Mul(q, cubic) o = Add(l, one) z = Mul(x, c) n = Mul(z, o) t = Tanh(n) p = Add(t, one) h = Mul(x, half) y = Mul(h, p)",
        "gelu", {"approximate": "tanh"},
    ),
    "quick gelu": ("s = Mul(x, quick) g = Sigmoid(s) y = Mul(x, g)", "gelu", {"approximate": "quick"}),
    "quick gelu of onnxruntime": ("y = com.microsoft.QuickGelu(x)", "gelu", {"approximate": "quick"}),
    "silu": ("g = Sigmoid(x) y = Mul(x, g)", "silu", {}),
    "silu, exponential": ("n = Neg(x) e = Exp(n) d = Add(e, one) y = Div(x, d)", "silu", {}),
    "mish": ("s = Softplus(x) t = Tanh(s) y = Mul(x, t)", "mish", {}),
    "mish, softplus in pieces": ("e = Exp(x) o = Add(e, one) s = Log(o) t = Tanh(s) y = Mul(t, x)", "mish", {}),
    "hard swish": ("g = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) y = Mul(x, g)", "hard_swish", {}),
    "hard swish, relu6": ("a = Add(x, three) r = Clip(a, zero, six) m = Mul(x, r) y = Div(m, six)", "hard_swish", {}),
    "hard swish, relu6 first": ("a = Add(x, three) r = Clip(a, zero, six) m = Mul(r, sixth) y = Mul(m, x)", "hard_swish", {}),
    "hard swish, operator": ("y = HardSwish(x)", "hard_swish", {}),
    "hard sigmoid": ("a = Add(x, three) r = Clip(a, zero, six) y = Div(r, six)", "hard_sigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "hard sigmoid, other numbers": ("a = Mul(x, quarter) b = Add(a, half) y = Clip(b, zero, one)", "hard_sigmoid", {"alpha": 0.25, "beta": 0.5}),
    "relu": ("y = Relu(x)", "relu", {}),
    "relu, maximum": ("y = Max(x, zero)", "relu", {}),
    "relu, clip": ("y = Clip(x, zero)", "relu", {}),
    "relu6": ("y = Clip(x, zero, six)", "relu6", {}),
    "relu6, relu and minimum": ("r = Relu(x) y = Min(r, six)", "relu6", {}),
    "relu6, maximum and minimum": ("r = Max(zero, x) y = Min(six, r)", "relu6", {}),
    "hard tanh": ("y = Clip(x, minus_one, one)", "hard_tanh", {"min": -1.0, "max": 1.0}),
    "hard tanh, maximum and minimum": ("r = Max(x, minus_one) y = Min(r, one)", "hard_tanh", {"min": -1.0, "max": 1.0}),
    "clip": ("y = Clip(x, zero, two)", "clip", {"min": 0.0, "max": 2.0}),
    "leaky relu": ("y = LeakyRelu<alpha = 0.2>(x)", "leaky_relu", {"negative_slope": 0.2}),
    "leaky relu, maximum": ("s = Mul(x, slope) y = Max(x, s)", "leaky_relu", {"negative_slope": 0.2}),
    "leaky relu, where": ("z = Greater(x, zero) s = Mul(x, slope) y = Where(z, x, s)", "leaky_relu", {"negative_slope": 0.2}),
    "leaky relu, two halves": ("p = Relu(x) n = Neg(x) q = Relu(n) s = Mul(q, slope) y = Sub(p, s)", "leaky_relu", {"negative_slope": 0.2}),
    "elu, where": ("z = Greater(x, zero) e = Exp(x) d = Sub(e, one) a = Mul(d, alpha) y = Where(z, x, a)", "elu", {"alpha": 0.7}),
    "selu, where": (
        "z = LessOrEqual(x, zero) e = Exp(x) m = Mul(e, selu_alpha) d = Sub(m, selu_alpha) f = Where(z, d, x) y = Mul(f, selu_scale)", "selu", {},
    ),
    "thresholded relu, where": ("z = Greater(x, threshold) y = Where(z, x, zero)", "thresholded_relu", {"threshold": 0.85}),
    "softplus": ("y = Softplus(x)", "softplus", {}),
    "softplus, in pieces": ("e = Exp(x) o = Add(one, e) y = Log(o)", "softplus", {}),
    "log-sigmoid": ("n = Neg(x) s = Softplus(n) y = Neg(s)", "log_sigmoid", {}),
    "softsign": ("y = Softsign(x)", "softsign", {}),
    "softsign, in pieces": ("a = Abs(x) o = Add(a, one) y = Div(x, o)", "softsign", {}),
    "sigmoid, in pieces": ("n = Neg(x) e = Exp(n) d = Add(e, one) y = Reciprocal(d)", "sigmoid", {}),
    "gated linear unit": ("a, b = Split<axis = -1, num_outputs = 2>(x) g = Sigmoid(b) y = Mul(a, g)", "glu", {"dim": 1}),
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_of_activation_functions(spelling: str, tmp_path: Path) -> None:
    body, op, attributes = SPELLINGS[spelling]
    graph = graph_of(tmp_path, body, NUMBERS, opset=20)
    assert ops(graph) == [op]
    layer = graph.layers[0]
    assert layer.inputs == ("x",)
    assert set(layer.attributes) == set(attributes)
    for name, value in attributes.items():
        expected = (
            pytest.approx(value, abs=0.06 if op == "thresholded_relu" else 1e-4) if isinstance(value, float) else value
        )
        assert layer.attributes[name] == expected
    assert graph.parameters == {}


UNLIKE = {
    "log of a sigmoid stays two layers": ("s = Sigmoid(x) y = Log(s)", ["sigmoid", "log"]),
    "a gate of another value": ("w = Mul(x, x) g = Sigmoid(w) y = Mul(x, g)", ["pow", "sigmoid", "mul"]),
    "a gelu with a wrong factor": (PHI + "h = Mul(x, p) y = Mul(h, alpha)", ["div", "erf", "add", "mul", "mul"]),
    "tanh shrink": ("t = Tanh(x) y = Sub(x, t)", ["tanh", "sub"]),
    "relu twice": ("r = Relu(x) y = Relu(r)", ["relu", "relu"]),
    "relu6 behind relu": ("r = Relu(x) y = Clip(r, zero, six)", ["relu", "relu6"]),
    "two activations in a row": ("r = Relu(x) y = Sigmoid(r)", ["relu", "sigmoid"]),
    "scaled tanh": ("t = Tanh(x) y = Mul(t, two)", ["tanh", "mul"]),
    "sigmoid of a scaled value": ("s = Mul(x, two) y = Sigmoid(s)", ["mul", "sigmoid"]),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_what_is_no_known_function_stays_apart(name: str, tmp_path: Path) -> None:
    body, expected = UNLIKE[name]
    assert ops(graph_of(tmp_path, body, NUMBERS)) == expected


def test_an_inner_value_that_is_read_elsewhere_stays(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "g = Sigmoid(x) y = Mul(x, g)", outputs="float[] y, float[] g")
    assert ops(graph) == ["sigmoid", "mul"]


def test_the_input_may_be_read_by_others(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "r = Relu(x) g = Sigmoid(r) h = Mul(r, g) y = Add(h, r)")
    assert ops(graph) == ["relu", "silu", "add"]


@pytest.mark.parametrize("order", list(itertools.permutations(["x", "half", "p"])))
def test_a_product_in_any_order(order: tuple[str, ...], tmp_path: Path) -> None:
    first, second, third = order
    for left in (True, False):
        product = f"h = Mul({first}, {second}) y = Mul({'h, ' + third if left else third + ', h'})"
        assert ops(graph_of(tmp_path, PHI + product, NUMBERS)) == ["gelu"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(KNOWN), st.floats(-1e-4, 1e-4))
def test_the_nearest_known_function_is_named(known: tuple[object, dict[str, object], np.ndarray], error: float) -> None:
    op, attributes, values = known
    named = name_function(values * (1.0 + error))
    assert named == (op, attributes)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.05, 20), st.floats(-5, 5))
def test_other_functions_have_no_name(scale: float, offset: float) -> None:
    assert name_function(np.sin(POINTS * scale) + offset) is None
    assert name_function(POINTS * scale + offset) is None


@pytest.mark.parametrize("guard", ["Add(s, epsilon)", "Max(s, epsilon)", "Clip(s, epsilon)"])
@pytest.mark.parametrize("function", ["Sigmoid", "Softplus"])
def test_an_epsilon_is_no_part_of_a_function(function: str, guard: str, tmp_path: Path) -> None:
    graph = graph_of(tmp_path, f"s = {function}(x) g = {guard} y = Log(g)", {"epsilon": np.float32(1e-8)})
    assert ops(graph) == [function.lower(), guard[:3].lower() if guard[0] != "C" else "clip", "log"]


def test_softmax_in_pieces(tmp_path: Path) -> None:
    body = "m = ReduceMax<axes = [-1]>(x) d = Sub(x, m) e = Exp(d) s = ReduceSum(e, last) y = Div(e, s)"
    graph = graph_of(tmp_path, body, {"last": np.array([-1])}, opset=17)
    assert ops(graph) == ["softmax"]
    assert graph.layers[0].attributes == {"dim": 1}


def test_log_softmax_in_pieces(tmp_path: Path) -> None:
    body = "m = ReduceMax<axes = [-1]>(x) d = Sub(x, m) e = Exp(d) s = ReduceSum(e, last) l = Log(s) y = Sub(d, l)"
    graph = graph_of(tmp_path, body, {"last": np.array([-1])}, opset=17)
    assert ops(graph) == ["log_softmax"]


@pytest.mark.parametrize(("opset", "shape", "attributes"), [
    (13, "n, 4, 6", {"dim": 2}), (12, "n, 4, 6", {"dim": 1, "flattened": True}), (12, "n, 4, 1", {"dim": 1}),
])  # fmt: skip
def test_the_axis_of_softmax(opset: int, shape: str, attributes: dict[str, object], tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "y = Softmax(x)", inputs=f"float[{shape}] x", opset=opset)
    assert graph.layers[0].attributes == attributes
