"""No graph that keeps the invariants may break a measurement: any op anywhere, with any inputs, shapes and attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.measure.structure_graphs import Sketch, placed
from trainaudit.ir.graph import Shape
from trainaudit.ir.ops import Op
from trainaudit.measure.catalog import BY_NAME
from trainaudit.measure.facts import Unmeasured
from trainaudit.measure.static.rows import layer_rows
from trainaudit.measure.static.structure import measure_structure

dimensions = st.one_of(st.integers(0, 4), st.sampled_from(["N", "T", "2*N", "a/b"]), st.none())
shapes: st.SearchStrategy[Shape | None] = st.one_of(st.none(), st.lists(dimensions, max_size=4).map(tuple))
numbers = st.lists(st.integers(-4, 4), max_size=4).map(tuple)
attributes = st.fixed_dictionaries(
    {},
    optional={
        "dim": st.integers(-3, 3),
        "axes": numbers,
        "perm": st.permutations(range(3)).map(tuple),
        "keepdim": st.booleans(),
        "p": st.floats(0, 1),
        "eps": st.floats(0, 1),
        "to": st.sampled_from(["int64", "float32", "bool"]),
        "fill": st.sampled_from([-1e9, 0.0, float("-inf")]),
        "stride": numbers,
        "kernel_size": numbers,
        "num_groups": st.integers(1, 4),
        "num_channels": st.integers(1, 4),
        "normalized_shape": numbers,
        "head_dim": st.integers(0, 4),
        "out_features": st.integers(1, 4),
    },
)
parameters = st.fixed_dictionaries(
    {},
    optional={
        role: st.sampled_from([(), (3,), (2, 3), (2, 1, 3, 3)]).map(np.ones)
        for role in ("weight", "bias", "scale", "shift", "embedding", "position", "recurrent_weight", "constant")
    },
)
modules = st.one_of(
    st.none(), st.sampled_from(["", "a", "layers.0", "layers.1.fc", "layers.2.fc", "layers.1.0.2", "x..y", "0"])
)


@st.composite
def sketches(draw: st.DrawFn) -> tuple[Sketch, list[str], dict[str, str]]:
    g = Sketch({"x": draw(shapes.filter(lambda shape: shape is not None)) or (), "y": ("N", 3)})
    names = ["x", "y"]
    places: dict[str, str] = {}
    for i in range(draw(st.integers(0, 14))):
        inputs = draw(st.lists(st.sampled_from(names[-5:]), max_size=4))
        details: dict[str, Any] = {**draw(attributes), **draw(parameters)}
        count = draw(st.integers(1, 2))
        made = g.layer_with_outputs(
            draw(st.sampled_from(list(Op))),
            f"l{i}",
            *inputs,
            shapes=tuple(draw(shapes) for _ in range(count)),
            **details,
        )
        names.extend(made)
        module = draw(modules)
        if module is not None:
            places[f"l{i}"] = module
    return g, draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)), places


@given(sketches())
@settings(max_examples=300, deadline=None)
def test_any_graph_is_measured(drawn: tuple[Sketch, list[str], dict[str, str]]) -> None:
    g, outputs, places = drawn
    graph = placed(g.graph(*outputs), places)
    subjects, columns = measure_structure(graph)
    for fact, column in columns.items():
        spec = BY_NAME[fact]
        assert set(column) <= set(subjects[spec.kind])
        for value in column.values():
            assert isinstance(value, Unmeasured) or not spec.words or value in spec.words, (fact, value)
    assert len(layer_rows(graph, columns)) <= len(graph.layers)
