"""Where segments begin and end, and at which layer the damage along them starts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.measure.structure_graphs import Sketch
from trainaudit.ir.graph import Graph
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.readings import first_largest
from trainaudit.measure.signal.segments import Layout, find_segments
from trainaudit.measure.static.flow import trace_uses
from trainaudit.measure.static.index import build_index
from trainaudit.measure.static.roles import layer_roles


def layout(graph: Graph) -> Layout:
    index = build_index(graph)
    return find_segments(index, layer_roles(index, trace_uses(index)))


def chains(graph: Graph) -> dict[tuple[str, ...], str]:
    """Names of the weighted layers of each segment → what closes it."""
    return {tuple(graph.layers[i].name for i in segment.chain): segment.closing for segment in layout(graph).segments}


def plain(depth: int, *norms: int) -> tuple[Sketch, str]:
    """fc0, fc1, … with ReLU; a layer normalization behind those whose numbers are given."""
    g = Sketch({"x": ("N", 8)})
    h = "x"
    for k in range(depth):
        h = g.dense(f"fc{k}", h, 8)
        if k in norms:
            h = g.norm(f"norm{k}", h, Op.LAYER_NORM)
        h = g.layer(Op.RELU, f"relu{k}", h)
    return g, h


def test_a_plain_chain_is_one_segment_without_its_head() -> None:
    g, h = plain(3)
    graph = g.graph(g.dense("head", h, 4))
    segment = layout(graph).segments[0]
    assert chains(graph) == {("fc0", "fc1", "fc2"): "output"}
    assert segment.ends == ("relu0", "relu1", "relu2")
    assert segment.head is not None
    assert graph.layers[segment.head].name == "head"


def test_a_normalization_ends_a_segment() -> None:
    g, h = plain(4, 1)
    graph = g.graph(g.dense("head", h, 4))
    assert chains(graph) == {("fc0", "fc1"): "normalization", ("fc2", "fc3"): "output"}
    assert layout(graph).segments[0].ends == ("relu0", "norm1")


def test_a_residual_sum_ends_a_segment() -> None:
    g, h = plain(1)
    branch = g.layer(Op.RELU, "relu", g.dense("a", h, 8))
    h = g.layer(Op.ADD, "sum", h, g.dense("b", branch, 8))
    graph = g.graph(g.dense("head", g.layer(Op.RELU, "last", g.dense("c", h, 8)), 4))
    assert chains(graph) == {("fc0", "a", "b"): "residual", ("c",): "output"}
    (stack,) = layout(graph).stacks
    assert stack.start == "relu0"
    assert [graph.layers[i].name for i in stack.ends] == ["b"]


def test_a_normalized_branch_makes_no_stack() -> None:
    g, h = plain(1)
    branch = g.dense("b", g.layer(Op.RELU, "relu", g.norm("norm", h, Op.LAYER_NORM)), 8)
    graph = g.graph(g.dense("head", g.layer(Op.ADD, "sum", h, branch), 4))
    assert layout(graph).stacks == ()


def test_a_gate_is_no_part_of_the_stream() -> None:
    g, h = plain(2)
    gate = g.layer(Op.SIGMOID, "sigmoid", g.dense("gate2", g.layer(Op.RELU, "relu", g.dense("gate1", h, 8)), 8))
    h = g.layer(Op.RELU, "last", g.dense("fc2", g.layer(Op.MUL, "product", h, gate), 8))
    assert ("fc0", "fc1", "fc2") in chains(g.graph(g.dense("head", h, 4)))


def test_a_path_beside_the_chain_belongs_to_its_segment() -> None:
    g, h = plain(1)
    left = g.layer(Op.RELU, "relu_left", g.dense("left", h, 8))
    right = g.layer(Op.RELU, "relu_right", g.dense("right", h, 8))
    h = g.layer(Op.CONCAT, "both", left, right, shape=("N", 16), dim=-1)
    graph = g.graph(g.dense("head", g.layer(Op.RELU, "last", g.dense("fc", h, 8)), 4))
    (segment,) = layout(graph).segments
    assert [graph.layers[i].name for i in segment.chain] == ["fc0", "left", "fc"]
    assert [graph.layers[i].name for i in segment.beside] == ["right"]


def test_pooling_is_left_out_of_the_way() -> None:
    g = Sketch({"x": ("N", 3, 16, 16)})
    h = g.layer(Op.RELU, "relu", g.conv("conv", "x", 8))
    h = g.layer(Op.FLATTEN, "flat", g.layer(Op.GLOBAL_AVERAGE_POOL, "pool", h, shape=("N", 8, 1, 1)), shape=("N", 8))
    h = g.layer(Op.RELU, "relu1", g.dense("fc", h, 8))
    graph = g.graph(g.dense("head", h, 4))
    assert chains(graph) == {("conv", "fc"): "output"}
    assert layout(graph).segments[0].ends == ("relu", "relu1")


@pytest.mark.parametrize("depth", [1, 5, 30])
def test_plain_depth_counts_through_normalizations_and_stops_at_skips(depth: int) -> None:
    g, h = plain(depth, *range(depth))
    assert layout(g.graph(g.dense("head", h, 4))).plain_depth == depth + 1
    g, h = plain(depth)
    skip = g.layer(Op.ADD, "sum", h, g.dense("b", g.layer(Op.RELU, "relu", g.dense("a", h, 8)), 8))
    assert layout(g.graph(g.dense("head", skip, 4))).plain_depth == depth + 2


def test_post_normalization_is_counted_along_one_stream() -> None:
    g, h = plain(1)
    for k in range(5):
        branch = g.dense(f"b{k}", g.layer(Op.RELU, f"r{k}", g.dense(f"a{k}", h, 8)), 8)
        h = g.norm(f"norm{k}", g.layer(Op.ADD, f"sum{k}", h, branch), Op.LAYER_NORM)
    graph = g.graph(g.dense("head", h, 4))
    assert [graph.layers[i].name for i in layout(graph).post_normalized] == [f"norm{k}" for k in range(5)]


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=12).filter(lambda factors: max(factors) > 0))
def test_the_damage_starts_at_the_first_large_factor(factors: list[float]) -> None:
    at = first_largest(factors)
    assert factors[at] >= 0.5 * max(factors)
    assert all(factor < 0.5 * max(factors) for factor in factors[:at])


def test_the_damage_of_equal_layers_starts_at_the_first_and_of_one_bad_layer_there() -> None:
    assert first_largest([math.log(2.4)] * 20) == 0
    assert first_largest([0.1, 0.1, math.log(1e4), 0.1]) == 2
