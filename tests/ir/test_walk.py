"""Walks, on graphs small enough to see the answer, and against brute force on random ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.graphs import GraphBuilder
from trainaudit.ir.graph import Graph
from trainaudit.ir.ops import Op
from trainaudit.ir.walk import (
    ancestors,
    common_forks,
    consumers_skipping,
    depths,
    layers_after,
    layers_before,
    producer_skipping,
    sole_consumer,
)


@pytest.fixture
def residual() -> Graph:
    """x → norm → fc1 → reshape → relu → fc2 → (+ x) → head, and a side branch from fc1 that ends nowhere."""
    g = GraphBuilder({"x": ("N", 8), "unused": ("N", 1)})
    h = g.layer(Op.LAYER_NORM, "norm", "x", scale=np.ones(8))
    h = g.layer(Op.LINEAR, "fc1", h, weight=np.ones((8, 8)))
    g.layer(Op.SIGMOID, "side", h)
    h = g.layer(Op.RESHAPE, "reshape", h)
    h = g.layer(Op.RELU, "relu", h)
    h = g.layer(Op.LINEAR, "fc2", h, weight=np.ones((8, 8)))
    h = g.layer(Op.ADD, "add", "x", h)
    h = g.layer(Op.LINEAR, "head", h, weight=np.ones((2, 8)), shape=("N", 2))
    return g.graph(h)


def names(graph: Graph, indices: set[int]) -> list[str]:
    return [graph.layers[index].name for index in sorted(indices)]


def test_what_an_output_depends_on(residual: Graph) -> None:
    assert names(residual, layers_before(residual, residual.outputs)) == [
        "norm", "fc1", "reshape", "relu", "fc2", "add", "head",
    ]  # fmt: skip


def test_what_depends_on_an_input(residual: Graph) -> None:
    assert len(layers_after(residual, ["x"])) == len(residual.layers)
    assert layers_after(residual, ["unused"]) == set()
    assert names(residual, layers_after(residual, ["relu"])) == ["fc2", "add", "head"]


def test_depth_counts_layers_on_the_longest_path(residual: Graph) -> None:
    assert dict(zip([layer.name for layer in residual.layers], depths(residual), strict=True)) == {
        "norm": 1, "fc1": 2, "side": 3, "reshape": 3, "relu": 4, "fc2": 5, "add": 6, "head": 7,
    }  # fmt: skip


def test_neighbours_beyond_reshapes(residual: Graph) -> None:
    producer = producer_skipping(residual, "reshape")
    assert producer is not None
    assert producer.name == "fc1"
    assert producer_skipping(residual, "x") is None
    assert [layer.name for layer in consumers_skipping(residual, "fc1")] == ["side", "relu"]
    assert [layer.name for layer in consumers_skipping(residual, "fc1", skipped=())] == ["side", "reshape"]


def test_sole_consumer(residual: Graph) -> None:
    by_name = {layer.name: layer for layer in residual.layers}
    consumer = sole_consumer(residual, by_name["relu"])
    assert consumer is not None
    assert consumer.name == "fc2"
    assert sole_consumer(residual, by_name["fc1"]) is None  # two
    assert sole_consumer(residual, by_name["side"]) is None  # none
    assert sole_consumer(residual, by_name["head"]) is None  # the model's output


def test_ancestors_of_a_kind_within_a_bound(residual: Graph) -> None:
    add = residual.layers[6]
    kinds = {Op.LINEAR, Op.RELU, Op.RESHAPE}
    assert [layer.name for layer in ancestors(residual, add, kinds)] == ["fc2", "relu", "reshape", "fc1"]
    assert [layer.name for layer in ancestors(residual, add, kinds, limit=2)] == ["fc2", "relu"]
    assert ancestors(residual, add, {Op.RELU}) == []


def test_forks_of_residual_sums() -> None:
    g = GraphBuilder({"x": ("N", 8), "other": ("N", 8)})
    stem = g.layer(Op.LINEAR, "stem", "x", weight=np.ones((8, 8)))
    branch = g.layer(Op.LINEAR, "branch", g.layer(Op.RELU, "relu", stem), weight=np.ones((8, 8)))
    identity = g.layer(Op.ADD, "identity", stem, branch)
    left = g.layer(Op.LINEAR, "left", identity, weight=np.ones((8, 8)))
    right = g.layer(Op.LINEAR, "right", identity, weight=np.ones((8, 8)))
    projection = g.layer(Op.ADD, "projection", left, right)
    twice = g.layer(Op.ADD, "twice", projection, projection)
    unrelated = g.layer(Op.ADD, "unrelated", g.layer(Op.RELU, "r2", "other"), "x")
    end = g.layer(Op.ADD, "end", g.layer(Op.ADD, "input skip", twice, "x"), unrelated)
    graph = g.graph(end)
    place = {layer.name: layer.index for layer in graph.layers}
    assert common_forks(graph) == {
        place["identity"]: place["stem"],
        place["projection"]: place["identity"],
        place["twice"]: place["projection"],
        place["input skip"]: -1,  # the first graph input
        place["end"]: -1,
    }


def test_long_graphs_are_walked_without_recursion_and_within_bounds() -> None:
    """Blocks of residual sums, and one skip over all of them at every block: what is too dear is left out, not waited for."""
    g = GraphBuilder({"x": ("N",)})
    h = "x"
    ends = []
    for block in range(5_000):
        h = g.layer(Op.ADD, f"add{block}", h, g.layer(Op.RELU, f"relu{block}", h))
        ends.append(h)
    for block, end in enumerate(ends):
        g.layer(Op.MUL, f"far{block}", end, "x")
    graph = g.graph(h)
    assert len(common_forks(graph)) == 5_000
    far = common_forks(graph, [layer.index for layer in graph.layers if layer.op is Op.MUL])
    assert far
    assert len(far) < 5_000
    assert max(depths(graph)) == 10_001
    assert len(layers_before(graph, [h])) == 10_000


@st.composite
def random_graphs(draw: st.DrawFn) -> Graph:
    g = GraphBuilder({"x": ("N",), "y": ("N",)})
    made = ["x", "y"]
    for index in range(draw(st.integers(1, 25))):
        pick = st.sampled_from(made)
        if draw(st.booleans()):
            made.append(g.layer(Op.ADD, f"l{index}", draw(pick), draw(pick)))
        else:
            made.append(g.layer(draw(st.sampled_from([Op.RELU, Op.RESHAPE])), f"l{index}", draw(pick)))
    return g.graph(made[-1])


def reachable(graph: Graph, value: str) -> set[int]:
    """Everything `value` depends on by brute force, graph inputs as in `walk`."""
    producer = graph.values[value].producer
    if producer is None:
        return {-1 - graph.inputs.index(value)}
    return {producer}.union(*(reachable(graph, name) for name in graph.layers[producer].inputs))


@given(random_graphs())
def test_forks_are_the_last_shared_ancestors(graph: Graph) -> None:
    forks = common_forks(graph)
    for layer in graph.layers:
        if layer.op is Op.ADD:
            shared = reachable(graph, layer.inputs[0]) & reachable(graph, layer.inputs[1])
            if layer.index in forks:
                assert forks[layer.index] == max(shared)
            elif len(graph.layers) < 12:
                assert not shared


@given(random_graphs())
def test_before_and_after_are_each_others_mirror(graph: Graph) -> None:
    for layer in graph.layers:
        before = layers_before(graph, layer.outputs)
        assert before == {index for index in reachable(graph, layer.outputs[0]) if index >= 0}
        for index in before - {layer.index}:
            assert layer.index in layers_after(graph, graph.layers[index].outputs)
