"""Recurrences that were written out step by step, or as a loop's body: the recurrent weight of a plain one is measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from tests.measure.structure_graphs import Sketch
from trainaudit.ir.ops import Op
from trainaudit.measure.facts import FactValue, Unmeasured
from trainaudit.measure.measuring import measure

RADIUS = "layer.recurrent_spectral_radius"
HIDDEN = 16


def orthogonal(scale: float, size: int = HIDDEN) -> npt.NDArray[np.float32]:
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((size, size)))[0]
    return (q * scale).astype(np.float32)


def column(sketch: Sketch, output: str, name: str) -> dict[str, FactValue]:
    return dict(measure(sketch.graph(output), loss=None, expects={}).columns.get(name, {}))


def inputs(steps: int) -> Sketch:
    return Sketch({f"x{t}": ("N", 8) for t in range(steps)})


def step(g: Sketch, t: int, h: str, scale: float, gate: str = "hh", width: int = HIDDEN) -> str:
    """W·x + U·h, the weights shared between the steps (from step 1 on)."""
    first = t == 1
    shared: dict[str, object] = {} if first else {"weight": f"{gate}_in1.weight"}
    into = g.dense(f"{gate}_in{t}", f"x{t}", width, bias=False, **shared)
    weight = np.tile(orthogonal(scale), (width // HIDDEN, 1)) if first else f"{gate}1.weight"
    again = g.dense(f"{gate}{t}", h, width, bias=False, weight=weight)
    return g.layer(Op.ADD, f"{gate}_add{t}", into, again)


@pytest.mark.parametrize("op", [Op.TANH, Op.RELU])
@pytest.mark.parametrize("scale", [0.1, 1.0, 6.0])
def test_plain_recurrence(op: Op, scale: float) -> None:
    """Once, at the first step; reshapes between the steps change nothing."""
    g = inputs(5)
    h = g.layer(Op.TANH, "start", g.dense("first", "x0", HIDDEN))
    for t in (1, 2, 3, 4):
        h = g.layer(op, f"bend{t}", step(g, t, h, scale))
        h = g.view(f"flat{t}", g.view(f"line{t}", h, "N", 1, HIDDEN), "N", HIDDEN)
    measured = column(g, g.dense("head", h, 3), RADIUS)
    assert measured == {"hh1": pytest.approx(scale, rel=1e-4)}


def test_gated_recurrences_have_no_spectral_radius() -> None:
    """A GRU with a matrix for each gate: square weights, but gates decide what is kept."""
    g = inputs(5)
    h = g.layer(Op.TANH, "start", g.dense("first", "x0", HIDDEN))
    for t in (1, 2, 3, 4):
        update = g.layer(Op.SIGMOID, f"z{t}", step(g, t, h, 6.0, "update"))
        candidate = g.layer(Op.TANH, f"n{t}", step(g, t, h, 6.0, "candidate"))
        kept = g.layer(Op.MUL, f"kept{t}", update, h)
        rest = g.layer(Op.MUL, f"rest{t}", g.layer(Op.SUB, f"one{t}", update, scalar=1.0), candidate)
        h = g.layer(Op.ADD, f"state{t}", kept, rest)
    columns = column(g, g.dense("head", h, 3), RADIUS)
    assert columns == {}


def test_forget_gate_of_a_written_lstm_is_not_measured() -> None:
    g = inputs(5)
    h = c = g.layer(Op.TANH, "start", g.dense("first", "x0", HIDDEN))
    for t in (1, 2, 3, 4):
        gates = step(g, t, h, 1.0, "gates", 4 * HIDDEN)
        shapes = (("N", HIDDEN),) * 4
        i, f, n, o = g.layer_with_outputs(Op.SPLIT, f"split{t}", gates, shapes=shapes, dim=1)
        i, f, o = (g.layer(Op.SIGMOID, f"{name}{t}", gate) for name, gate in (("i", i), ("f", f), ("o", o)))
        new = g.layer(Op.MUL, f"new{t}", i, g.layer(Op.TANH, f"g{t}", n))
        c = g.layer(Op.ADD, f"cell{t}", g.layer(Op.MUL, f"kept{t}", f, c), new)
        h = g.layer(Op.MUL, f"h{t}", o, g.layer(Op.TANH, f"tanh{t}", c))
    out = g.dense("head", h, 3)
    bias = column(g, out, "layer.forget_gate_bias")
    assert isinstance(bias["gates1"], Unmeasured)
    assert "head" not in bias
    assert column(g, out, RADIUS) == {}


@pytest.mark.parametrize("is_gated", [False, True])
def test_body_of_a_loop(is_gated: bool) -> None:
    g = inputs(2)
    h = g.dense("first", "x0", HIDDEN)
    h = g.layer(Op.LOOP_ENTRY, "entry", h)
    new = g.layer(Op.TANH, "tanh", step(g, 1, h, 3.0))
    if is_gated:
        gate = g.layer(Op.SIGMOID, "sigmoid", g.dense("gate", "x1", HIDDEN))
        new = g.layer(Op.ADD, "state", g.layer(Op.MUL, "part", new, gate), h)
    out = g.dense("head", g.layer(Op.LOOP_EXIT, "exit", new), 3)
    graph = g.graph(out)
    inside = [replace(layer, scope="loop") if layer.name.startswith("hh") else layer for layer in graph.layers]
    graph = replace(graph, layers=tuple(inside))
    measured = dict(measure(graph, loss=None, expects={}).columns.get(RADIUS, {}))
    assert measured == ({} if is_gated else {"hh1": pytest.approx(3.0, rel=1e-4)})
