"""What all graph facts have in common: types, words, subjects; names, the layer table and the model's own facts."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace

import numpy as np
import pytest

from tests.measure.structure_graphs import IMAGE, Sketch, facts, placed
from tests.measure.test_chains_and_roles import transformer_block
from trainaudit.ir.graph import Graph, Origin
from trainaudit.ir.ops import Op
from trainaudit.measure.catalog import BY_NAME, GRAPH
from trainaudit.measure.facts import Columns, Unmeasured
from trainaudit.measure.static.model_facts import mask_user
from trainaudit.measure.static.naming import is_dotted_path, module_code
from trainaudit.measure.static.rows import layer_rows, shape_text
from trainaudit.measure.static.structure import Subjects, loss_in_graph, measure_structure


def relu(g: Sketch, x: str) -> str:
    return g.layer(Op.RELU, f"relu_{x}", x)


def varied() -> Graph:
    """A graph in which every fact from the graph applies to something."""
    g = Sketch({"x": IMAGE, "ids": ("batch", 8)})
    h = g.norm(
        "gn", relu(g, g.norm("bn", g.conv("stem", "x", 16, bias=True))), Op.GROUP_NORM, num_groups=4, num_channels=16
    )
    h = g.layer(Op.GLOBAL_AVERAGE_POOL, "pool", h, shape=("batch", 16, 1, 1))
    h = g.layer(Op.DROPOUT, "drop", g.layer(Op.FLATTEN, "flat", h, shape=("batch", 16), start_dim=1), p=0.3)
    h = g.layer(Op.UNSQUEEZE, "wide", h, shape=("batch", 1, 16), axes=(1,))
    h = g.layer(Op.ADD, "both", h, g.embed("tokens", "ids", 30, 16), shape=("batch", 8, 16))
    for k in range(3):
        h = transformer_block(g, f"layers.{k}", h, 16)
    h = g.layer(Op.ROUND, "round", h)
    h = g.layer(Op.SOFTMAX, "softmax", g.dense("head", h, 4), dim=2)
    h = g.layer(Op.DROPOUT, "late", h, p=0.5)
    graph = placed(g.graph(h), {layer.name: layer.name.rpartition(".")[0] or layer.name for layer in g.layers})
    layers = [
        dataclasses.replace(layer, attributes={**layer.attributes, "scale": 0.25, "head_dim": 16, "mask_value": -1e4})
        if layer.op is Op.ATTENTION
        else layer
        for layer in graph.layers
    ]
    origin = Origin(
        "/models/net.onnx", "onnx", 1, 17, "pytorch", ("/home/alice/net/model.py", "/home/alice/net/main.py")
    )
    return dataclasses.replace(
        graph, layers=tuple(layers), origin=origin, folded_normalizations=("stem",), folded_evidence="metadata"
    )


def stacked() -> Graph:
    """Plain convolutions and dense layers, a dense layer on a feature map, and a recurrent layer: what `varied` has none of."""
    g = Sketch({"x": IMAGE, "steps": (7, "batch", 6)})
    h = relu(g, g.conv("conv2", relu(g, g.conv("conv1", "x", 8)), 16, stride=2))
    cells = g.dense("cells", g.transpose("last", h, 0, 2, 3, 1), 5)
    h = g.layer(Op.FLATTEN, "flat", h, shape=("batch", 16), start_dim=1)
    weights = {"input_weight": np.ones((1, 5, 6)), "recurrent_weight": np.ones((1, 5, 5))}
    states = g.layer(Op.RNN, "rnn", "steps", shape=(7, "batch", 5), hidden_size=5, **weights)
    return g.graph(g.dense("head", relu(g, g.dense("hidden", h, 8)), 4), cells, states)


def test_every_fact_is_in_the_catalog_with_its_type_and_words() -> None:
    check_facts(*measure_structure(varied()))
    check_facts(*measure_structure(stacked()))


def check_facts(subjects: Subjects, columns: Columns) -> None:
    for fact, column in columns.items():
        spec = BY_NAME[fact]
        for subject, value in column.items():
            assert subject in subjects[spec.kind], (fact, subject)
            if isinstance(value, Unmeasured):
                assert value.reason.rstrip(".") == value.reason != ""
            elif spec.type == "boolean":
                assert isinstance(value, bool), (fact, subject, value)
            elif spec.type == "word":
                assert isinstance(value, str), (fact, subject, value)
                assert not spec.words or value in spec.words, (fact, subject, value)
            elif spec.type == "count":
                assert type(value) is int, (fact, subject, value)
            else:
                assert isinstance(value, float), (fact, subject, value)
                assert math.isfinite(value), (fact, subject, value)


def test_every_fact_of_the_graph_is_measured() -> None:
    filled = {fact for graph in (varied(), stacked()) for fact, column in facts(graph).items() if column}
    wanted = {name for name, spec in BY_NAME.items() if spec.source == GRAPH}
    assert wanted - filled == set()


def test_subjects_stand_at_their_layers() -> None:
    graph = varied()
    subjects, _ = measure_structure(graph)
    assert {kind: len(found) for kind, found in subjects.items() if kind != "parameter"} == {
        "model": 1, "input": 2, "output": 1, "block": 3, "segment": 0, "layer": len(graph.layers),
    }  # fmt: skip
    weight = subjects["parameter"]["stem.weight"]
    assert (weight.kind, weight.layer, weight.position) == ("parameter", "stem", 0)
    head = subjects["layer"]["head"]
    assert (head.kind, head.layer, graph.layers[head.position].name) == ("layer", "head", "head")
    assert subjects["block"]["layers.1"].layer == "layers.1.norm1"
    assert list(subjects["layer"]) == [layer.name for layer in graph.layers]


def test_facts_of_the_model() -> None:
    columns = facts(varied())
    model = {fact: column["model"] for fact, column in columns.items() if fact.startswith("model.") and column}
    assert model["model.name"] == "net.onnx"
    assert model["model.leaked_path_count"] == 2
    assert model["model.leaked_path_example"] == "/home/…/model.py"
    assert model["model.folded_normalization_count"] == 1
    assert model["model.folded_normalization_evidence"] == "metadata"
    assert model["model.dtype"] == "float32"
    sizes = columns["parameter.size"]
    trainable = [name for name, is_trainable in columns["parameter.is_trainable"].items() if is_trainable]
    assert model["model.parameter_count"] == sum(sizes[name] for name in trainable)
    assert columns["layer.parameter_share"]["head"] == 68 / model["model.parameter_count"]


def test_frozen_parameters_count_for_the_share_that_a_layer_holds() -> None:
    graph = varied()
    frozen = {
        name: parameter if name.startswith("head") else replace(parameter, trainable=False)
        for name, parameter in graph.parameters.items()
    }
    columns = facts(replace(graph, parameters=frozen))
    assert columns["model.parameter_count"]["model"] == 68
    assert columns["layer.parameter_share"]["head"] == facts(graph)["layer.parameter_share"]["head"]


def test_an_empty_graph() -> None:
    g = Sketch({"x": ("N", 4)})
    columns = facts(g.graph("x"))
    assert columns["output.depends_on_input"] == {"x": True}
    assert columns["input.reaches_output"] == {"x": True}
    assert columns["model.depth"] == {"model": 0}
    assert isinstance(columns["model.dtype"]["model"], Unmeasured)


# Names


@pytest.mark.parametrize(
    "path, code",
    [
        ("", "model"),
        ("fc1", "model.fc1"),
        ("0", "model[0]"),
        ("encoder.layers.3.fc1", "model.encoder.layers[3].fc1"),
        ("net.0.1", "model.net[0][1]"),
        ("layers.a-b.fc", 'model.get_submodule("layers.a-b.fc")'),
        ('say "hi"', 'model.get_submodule("say \\"hi\\"")'),
    ],
)
def test_code_of_a_module(path: str, code: str) -> None:
    known: dict[str, str] = {}
    assert module_code(path, known) == code
    assert module_code(path, known) == code


@pytest.mark.parametrize(
    "name, is_path",
    [
        ("fc1.weight", True),
        ("layers.0.fc.bias", True),
        ("onnx::MatMul_12", False),
        ("weight", False),
        ("a.1", False),
        ("val_3", False),
    ],
)
def test_names_that_are_paths(name: str, is_path: bool) -> None:
    assert is_dotted_path(name) is is_path


def test_code_of_layers_and_parameters() -> None:
    g = Sketch({"x": ("N", 4)})
    h = g.dense("encoder.0", "x", 8)
    h = g.layer(Op.RELU, "/act", h)
    h = g.dense("plain", h, 4)
    graph = g.graph(h)
    renamed = {
        ("onnx::MatMul_7" if n == "plain.weight" else n): dataclasses.replace(
            p, name="onnx::MatMul_7" if n == "plain.weight" else n
        )
        for n, p in graph.parameters.items()
    }
    layers = tuple(
        dataclasses.replace(layer, parameters={"weight": "onnx::MatMul_7", "bias": "plain.bias"})
        if layer.name == "plain"
        else layer
        for layer in graph.layers
    )
    graph = placed(dataclasses.replace(graph, layers=layers, parameters=renamed), {"plain": "head"})
    columns = facts(graph)
    assert columns["layer.code"] == {"encoder.0": "model.encoder[0]", "/act": "/act", "plain": "model.head"}
    assert columns["parameter.code"]["encoder.0.weight"] == "model.encoder[0].weight"
    assert columns["parameter.code"]["onnx::MatMul_7"] == "model.head.weight"


@pytest.mark.parametrize(
    "path, masked",
    [
        ("/home/alice/project/model.py", "/home/…/model.py"),
        ("/Users/bob/x/y/train.py", "/Users/…/train.py"),
        ("C:\\Users\\carol\\net\\model.py", "C:\\Users\\…\\model.py"),
        ("/opt/work/dan/model.py", "/opt/…/model.py"),
        ("/model.py", "/model.py"),
    ],
)
def test_users_are_masked(path: str, masked: str) -> None:
    assert mask_user(path) == masked


# Rows and loss


def test_layer_table() -> None:
    graph = varied()
    _, columns = measure_structure(graph)
    columns["layer.gain"] = {"head": 0.5}
    columns["parameter.std"] = {"head.weight": 0.1}
    rows = {row.name: row for row in layer_rows(graph, columns)}
    head = rows["head"]
    assert (head.op, head.role, head.parameters, head.gain, head.weight_std) == ("linear", "output-head", 68, 0.5, 0.1)
    assert head.output_shape == "batch × 8 × 4"
    assert "flat" not in rows
    assert rows["softmax"].parameters == 0
    assert shape_text(None) == "?"
    assert shape_text(("N", None, 3)) == "N × ? × 3"
    assert shape_text(()) == "scalar"


def test_rows_know_what_they_read_and_what_is_added_to_them() -> None:
    """Through reshapes, and with the start of each skip connection at the end of its branch."""
    g = Sketch({"x": ("N", 4, 4)})
    h = g.dense("stem", "x", 8)
    for k in range(3):
        wide = g.layer(Op.UNSQUEEZE, f"wide{k}", h, shape=("N", 1, 4, 8), axes=(1,))
        narrow = g.layer(Op.FLATTEN, f"narrow{k}", wide, shape=("N", 4, 8), start_dim=1)
        inside = g.dense(f"b{k}", relu(g, g.dense(f"a{k}", narrow, 8)), 8)
        h = g.layer(Op.ADD, f"sum{k}", h, inside, shape=("N", 4, 8))
    one, other = g.dense("one", h, 8), g.dense("other", h, 8)
    joined = g.layer(Op.CONCAT, "cat", one, other, shape=("N", 4, 16), axis=2)
    graph = g.graph(g.dense("head", joined, 2))
    rows = {row.name: row for row in layer_rows(graph, {})}
    assert rows["stem"].inputs == ()
    assert rows["a0"].inputs == ("stem",)
    assert rows["b0"].joined == ("stem",)
    assert [rows[f"a{k}"].inputs for k in (1, 2)] == [("b0",), ("b1",)]
    assert [rows[f"b{k}"].joined for k in (1, 2)] == [("b0",), ("b1",)]
    assert rows["other"].joined == ("one",)
    assert rows["head"].inputs == ("other",)
    assert all(name in rows for row in rows.values() for name in (*row.inputs, *row.joined))


def test_loss_in_the_graph() -> None:
    g = Sketch({"x": ("N", 8), "target": ("N",)})
    h = g.dense("head", "x", 4)
    assert loss_in_graph(g.graph(h)) is None
    graph = g.graph(g.layer(Op.LOSS, "loss", h, "target", shape=()))
    layers = (*graph.layers[:-1], dataclasses.replace(graph.layers[-1], attributes={"name": "nll"}))
    assert loss_in_graph(dataclasses.replace(graph, layers=layers)) == "nll"
