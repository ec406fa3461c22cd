"""The index of a graph: forks against a search, residual sums, and graphs of a size and depth that must not matter."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.measure.structure_graphs import Sketch, facts
from trainaudit.ir.ops import Op
from trainaudit.measure.static.index import INPUT, build_index
from trainaudit.measure.static.structure import measure_structure


@st.composite
def wirings(draw: st.DrawFn) -> list[tuple[int, ...]]:
    """For each layer the layers that it adds up; −1 is the input."""
    count = draw(st.integers(1, 12))
    return [tuple(draw(st.lists(st.integers(-1, i - 1), min_size=1, max_size=3, unique=True))) for i in range(count)]


def reaches_input_without(wiring: list[tuple[int, ...]], layer: int, removed: int) -> bool:
    waiting, seen = [layer], set()
    while waiting:
        current = waiting.pop()
        if current == -1:
            return True
        if current != removed and current not in seen:
            seen.add(current)
            waiting.extend(wiring[current])
    return False


@given(wirings())
@settings(max_examples=200)
def test_fork_is_the_nearest_layer_that_every_path_crosses(wiring: list[tuple[int, ...]]) -> None:
    g = Sketch({"x": ("N", 4)})
    for i, sources in enumerate(wiring):
        names = ["x" if source == -1 else f"l{source}" for source in sources]
        g.layer(Op.ADD, f"l{i}", *names) if len(names) > 1 else g.dense(f"l{i}", names[0], 4)
    index = build_index(g.graph(f"l{len(wiring) - 1}"))
    for i in range(len(wiring)):
        crossed = [j for j in range(i) if not reaches_input_without(wiring, i, j)]
        assert index.fork[i] == max(crossed, default=INPUT)


def test_residual_sums() -> None:
    g = Sketch({"x": ("N", 8)})
    h = g.dense("stem", "x", 8)
    plain = g.layer(Op.ADD, "plain", h, g.dense("b", g.layer(Op.RELU, "r", g.dense("a", h, 8)), 8))
    skip = g.dense("projection", plain, 4)
    branch = g.dense("d", g.layer(Op.RELU, "r2", g.dense("c", plain, 8)), 4)
    projected = g.layer(Op.ADD, "projected", skip, branch)
    sums = g.layer(Op.ADD, "parallel", g.dense("p", projected, 4), g.dense("q", projected, 4))
    lowrank = g.layer(Op.ADD, "update", g.dense("w", sums, 4), g.dense("up", g.dense("down", sums, 2), 4))
    graph = g.graph(lowrank)
    index = build_index(graph)
    name = {i: graph.layers[i].name for i in range(len(graph.layers))}
    joins = {name[i]: (name[j.skip], name[j.branch], name[j.fork], j.projected) for i, j in index.joins.items()}
    assert joins == {
        "plain": ("stem", "b", "stem", False),
        "projected": ("projection", "d", "plain", True),
    }


def chain(length: int) -> Sketch:
    g = Sketch({"x": ("N", 4)})
    h = "x"
    for i in range(length):
        h = g.layer(Op.TANH if i % 3 else Op.IDENTITY, f"l{i}", h)
    return g


def test_a_chain_of_a_hundred_thousand_layers() -> None:
    g = chain(100_000)
    columns = facts(g.graph("l99999"))
    assert columns["layer.reaches_output"]["l1"] is True
    assert columns["model.layer_count"] == {"model": 100_000}


def unet(levels: int) -> Sketch:
    """Skips within skips: every sum reaches back over all that came since."""
    g = Sketch({"x": ("N", 4)})
    h, kept = "x", []
    for i in range(levels):
        h = g.dense(f"down{i}", h, 4)
        kept.append(h)
    for i, skip in enumerate(reversed(kept)):
        h = g.layer(Op.ADD, f"join{i}", g.layer(Op.RELU, f"relu{i}", h), skip)
        h = g.dense(f"up{i}", h, 4)
    return g


def seconds(levels: int) -> float:
    g = unet(levels)
    graph = g.graph(f"up{levels - 1}")
    best = 1e9
    for _ in range(3):
        started = time.process_time()
        measure_structure(graph)
        best = min(best, time.process_time() - started)
    return best


def test_nested_skips_cost_no_more_than_in_proportion() -> None:
    """Ten times the layers take about ten times as long; a cost that grew with the square would take a hundred."""
    assert seconds(4_000) < 30 * seconds(400)
