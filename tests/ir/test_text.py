"""Graphs as text."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.models.graphs import GraphBuilder
from trainaudit.ir.graph import Graph
from trainaudit.ir.ops import Op
from trainaudit.ir.text import to_text, word


def example() -> Graph:
    g = GraphBuilder({"x": ("N", 4), "0": (None, 2)})
    h = g.layer(
        Op.LINEAR,
        "encoder.fc1",
        "x",
        shape=("N", 3),
        weight=np.ones((3, 4)),
        bias=np.ones(3),
        out_features=3,
        in_features=4,
    )
    first, second = g.layer_with_outputs(Op.SPLIT, "split", h, shapes=(("N", 1), ("N", 2)), dim=1, sizes=(1, 2))
    h = g.layer(Op.ADD, "add", second, "0", scale="encoder.fc1.bias")
    return g.graph(h, first, form="inference")


def test_one_line_for_each_layer() -> None:
    assert to_text(example()) == (
        "graph model.onnx: onnx, opset 17, inference\n"
        "input %x: f32[N,4]\n"
        'input %"0": f32[?,2]\n'
        "%0 encoder.fc1 = linear(%x) [in_features=4, out_features=3] "
        "{weight: encoder.fc1.weight f32[3,4], bias: encoder.fc1.bias f32[3] tied} -> f32[N,3]\n"
        "%1 split = split(%0) [dim=1, sizes=(1, 2)] -> f32[N,1], f32[N,2]\n"
        '%2 add = add(%1.1, %"0") {scale: encoder.fc1.bias f32[3] tied} -> f32[N,2]\n'
        "output %2\n"
        "output %1\n"
    )


def test_the_folder_of_the_file_is_left_out() -> None:
    graph = example()
    for path in ("/home/someone/model.onnx", "C:\\Users\\someone\\model.onnx"):
        moved = dataclasses.replace(graph, origin=dataclasses.replace(graph.origin, path=path))
        assert to_text(moved) == to_text(graph)


@given(st.text(st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Zs", "Cs", "Co", "Lu", "Po"]), max_size=12))
def test_no_name_breaks_a_line_or_reaches_the_terminal_raw(name: str) -> None:
    written = word(name)
    assert written.isprintable()
    assert "\n" not in written
    assert written == name or written.startswith('"')


def test_hostile_names_stay_on_their_line() -> None:
    evil = "\x1b[31m::error::\n%9 fake = relu(%x)\u202e"
    g = GraphBuilder({evil: (evil, 4)})
    graph = g.graph(g.layer(Op.RELU, evil, evil, note=evil))
    text = to_text(graph)
    assert len(text.splitlines()) == 4
    assert all(line.isprintable() for line in text.split("\n"))


def test_different_names_are_written_differently() -> None:
    assert word("a b") != word('"a b"')
    assert word("") == '""'
