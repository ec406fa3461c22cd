"""Every invariant of a graph, broken once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.models.graphs import GraphBuilder
from trainaudit.ir.graph import Graph
from trainaudit.ir.ops import Op
from trainaudit.ir.verify import verify


def sound() -> Graph:
    g = GraphBuilder({"x": ("N", 4)})
    h = g.layer(Op.LINEAR, "fc", "x", weight=np.ones((4, 4)))
    h = g.layer(Op.RELU, "relu", h)
    return g.graph(g.layer(Op.LINEAR, "tied", h, weight="fc.weight"))


def with_layer(graph: Graph, index: int, /, **changes: Any) -> Graph:
    layers = list(graph.layers)
    layers[index] = dataclasses.replace(layers[index], **changes)
    return dataclasses.replace(graph, layers=tuple(layers))


def with_value(graph: Graph, name: str, /, **changes: Any) -> Graph:
    return dataclasses.replace(graph, values={**graph.values, name: dataclasses.replace(graph.values[name], **changes)})


def with_parameter(graph: Graph, name: str, /, **changes: Any) -> Graph:
    changed = dataclasses.replace(graph.parameters[name], **changes)
    return dataclasses.replace(graph, parameters={**graph.parameters, name: changed})


def test_a_sound_graph_breaks_nothing() -> None:
    assert verify(sound()) == ()


@pytest.mark.parametrize(
    "broken, sentence",
    [
        (lambda g: with_layer(g, 1, index=7), "layer relu stands at 1 and says 7"),
        (lambda g: with_layer(g, 1, name="fc"), "two layers are named fc"),
        (lambda g: with_value(g, "x", name="y"), "value y is listed as x"),
        (lambda g: with_layer(g, 0, inputs=("relu",)), "layer fc reads relu, which nothing before it makes"),
        (lambda g: with_layer(g, 1, outputs=("fc",)), "value fc is made twice"),
        (lambda g: with_layer(g, 1, outputs=("z",)), "value z, made by layer relu, is not listed"),
        (lambda g: with_value(g, "relu", producer=0), "value relu is made by layer 1 and says 0"),
        (lambda g: with_value(g, "fc", consumers=()), "value fc is read by layers [1] and says []"),
        (lambda g: with_layer(g, 2, parameters={"weight": "w"}), "layer tied has the parameter w, which is not listed"),
        (lambda g: with_parameter(g, "fc.weight", owners=(0,)), "parameter fc.weight belongs to layers [0, 2] and says [0]"),
        (lambda g: with_parameter(g, "fc.weight", shape=(-1, 4)), "parameter fc.weight has a negative size"),
        (lambda g: dataclasses.replace(g, inputs=("x", "x")), "two inputs have the same name"),
        (lambda g: dataclasses.replace(g, inputs=("x", "y")), "input y is not listed among the values"),
        (lambda g: with_value(g, "x", producer=0), "input x is made by layer 0"),
        (lambda g: dataclasses.replace(g, inputs=()), "value x is made by nothing"),
        (lambda g: dataclasses.replace(g, outputs=("y",)), "output y is no value"),
        (lambda g: dataclasses.replace(g, parameters={**g.parameters, "x": g.parameters["fc.weight"]}),
         "x is both a parameter and a value"),
    ],
)  # fmt: skip
def test_each_broken_invariant_is_named(broken: Callable[[Graph], Graph], sentence: str) -> None:
    assert sentence in verify(broken(sound()))
