"""What all graph facts have in common, and the facts of blocks, normalizations, attention, names and rows."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from tests.measure.structure_graphs import IMAGE, Sketch, facts, placed, typed
from tests.measure.test_chains_and_roles import transformer_block
from trainaudit.ir.graph import Graph, Origin
from trainaudit.ir.ops import Op
from trainaudit.measure.catalog import BY_NAME, GRAPH
from trainaudit.measure.facts import Unmeasured
from trainaudit.measure.static.layer_facts import DTYPE_MAX
from trainaudit.measure.static.model_facts import mask_user
from trainaudit.measure.static.naming import is_dotted_path, module_code
from trainaudit.measure.static.rows import layer_rows, shape_text
from trainaudit.measure.static.structure import loss_in_graph, measure_structure


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
    return dataclasses.replace(graph, layers=tuple(layers), origin=origin, folded_normalizations=("stem",))


def test_every_fact_is_in_the_catalog_with_its_type_and_words() -> None:
    subjects, columns = measure_structure(varied())
    for fact, column in columns.items():
        spec = BY_NAME[fact]
        for subject, value in column.items():
            assert subject in subjects[spec.kind], (fact, subject)
            if isinstance(value, Unmeasured):
                assert value.reason and not value.reason.endswith(".")
            elif spec.type == "boolean":
                assert isinstance(value, bool), (fact, subject, value)
            elif spec.type == "word":
                assert isinstance(value, str), (fact, subject, value)
                assert not spec.words or value in spec.words, (fact, subject, value)
            elif spec.type == "count":
                assert isinstance(value, int) and not isinstance(value, bool), (fact, subject, value)
            else:
                assert isinstance(value, float) and math.isfinite(value), (fact, subject, value)


def test_every_fact_of_the_graph_is_measured() -> None:
    columns = facts(varied())
    filled = {fact for fact, column in columns.items() if column}
    wanted = {name for name, spec in BY_NAME.items() if spec.source == GRAPH}
    assert wanted - filled == set()


def test_subjects_stand_at_their_layers() -> None:
    graph = varied()
    subjects, _ = measure_structure(graph)
    assert {kind: len(found) for kind, found in subjects.items() if kind != "parameter"} == {
        "model": 1, "input": 2, "output": 1, "block": 3, "layer": len(graph.layers),
    }  # fmt: skip
    weight = subjects["parameter"]["stem.weight"]
    assert (weight.kind, weight.layer, weight.position) == ("parameter", "stem", 0)
    head = subjects["layer"]["head"]
    assert (head.kind, head.layer, graph.layers[head.position].name) == ("layer", "head", "head")
    assert subjects["block"]["layers.1"].layer == "layers.1.norm1"
    assert list(subjects["layer"]) == [layer.name for layer in graph.layers]


def test_facts_of_the_model() -> None:
    columns = facts(varied())
    model = {fact: column["model"] for fact, column in columns.items() if fact.startswith("model.")}
    assert model["model.name"] == "net.onnx"
    assert model["model.leaked_path_count"] == 2
    assert model["model.leaked_path_example"] == "/home/…/model.py"
    assert model["model.folded_normalization_count"] == 1
    assert model["model.folded_normalization_evidence"] == "metadata"
    assert columns["layer.is_normalization_folded"]["stem"] is True
    assert model["model.dtype"] == "float32"
    sizes = columns["parameter.size"]
    trainable = [name for name, is_trainable in columns["parameter.is_trainable"].items() if is_trainable]
    assert model["model.parameter_count"] == sum(sizes[name] for name in trainable)
    assert columns["layer.parameter_share"]["head"] == 68 / model["model.parameter_count"]


def test_an_empty_graph() -> None:
    g = Sketch({"x": ("N", 4)})
    columns = facts(g.graph("x"))
    assert columns["output.depends_on_input"] == {"x": True}
    assert columns["input.reaches_output"] == {"x": True}
    assert columns["model.depth"] == {"model": 0}
    assert isinstance(columns["model.dtype"]["model"], Unmeasured)


# Blocks


def blocks_of(count: int, odd: int | None = None, lacking: str = "", named: bool = True) -> Graph:
    g = Sketch({"x": ("N", 16)})
    h = g.dense("stem", "x", 16)
    for k in range(count):
        lacks = lacking if k == odd else ""
        inner = g.dense(f"blocks.{k}.fc1", h, 16, bias=lacks != "bias")
        if lacks != "normalization":
            inner = g.norm(f"blocks.{k}.bn", inner)
        if lacks != "activation":
            inner = g.layer(Op.GELU if lacks == "other" else Op.RELU, f"blocks.{k}.act", inner)
        inner = g.dense(f"blocks.{k}.fc2", inner, 16)
        h = inner if lacks == "skip" else g.layer(Op.ADD, f"blocks.{k}.add", h, inner)
    graph = g.graph(g.dense("head", h, 4))
    if not named:
        return graph
    return placed(graph, {layer.name: layer.name.rpartition(".")[0] or layer.name for layer in g.layers})


@pytest.mark.parametrize("part", ["normalization", "activation", "bias", "skip"])
def test_a_block_that_lacks_what_its_siblings_have(part: str) -> None:
    columns = facts(blocks_of(5, odd=2, lacking=part))
    missing = columns["block.missing_part"]
    assert {name: word for name, word in missing.items() if word != "none"} == {"blocks.2": part}
    assert set(columns["block.sibling_agreement"].values()) == {0.8}
    assert set(columns["block.sibling_count"].values()) == {5}
    assert list(columns["block.row_position"].values()) == ["first", "middle", "middle", "middle", "last"]


def test_a_block_with_another_activation() -> None:
    columns = facts(blocks_of(5, odd=2, lacking="other"))
    assert columns["block.activation"]["blocks.2"] == "gelu"
    assert columns["block.activation"]["blocks.1"] == "relu"
    assert columns["block.sibling_activation"]["blocks.2"] == "relu"
    assert set(columns["block.missing_part"].values()) == {"none"}


def test_two_blocks_are_no_row() -> None:
    assert facts(blocks_of(2, odd=1, lacking="normalization"))["block.name"] == {}


def test_first_block_may_rely_on_the_stem() -> None:
    assert set(facts(blocks_of(5, odd=0, lacking="normalization"))["block.missing_part"].values()) == {"none"}


def test_a_block_that_changes_the_shape_needs_no_skip() -> None:
    g = Sketch({"x": IMAGE})
    h, width = "x", 3
    for k, (out, stride) in enumerate([(3, 1), (3, 1), (8, 2), (8, 1), (8, 1)]):
        inner = g.layer(Op.RELU, f"b.{k}.act", g.conv(f"b.{k}.conv1", h, out, stride=stride))
        inner = g.conv(f"b.{k}.conv2", inner, out)
        h = g.layer(Op.ADD, f"b.{k}.add", h, inner) if out == width else inner
        width = out
    graph = placed(g.graph(h), {layer.name: layer.name.rpartition(".")[0] for layer in g.layers})
    columns = facts(graph)
    assert set(columns["block.missing_part"].values()) == {"none"}
    assert set(columns["block.sibling_agreement"].values()) == {1.0}


def plain_chain(widths: list[int], without: int | None = None, activation: bool = True) -> Graph:
    """A multilayer perceptron as people write it: fc, bn, relu, over and over."""
    g = Sketch({"x": ("N", widths[0])})
    h = "x"
    for k, width in enumerate(widths[1:]):
        h = g.dense(f"fc{k}", h, width)
        if activation and k != without:
            h = g.norm(f"bn{k}", h)
        if activation or k != without:
            h = g.layer(Op.RELU, f"relu{k}", h)
    return g.graph(g.dense("head", h, 4))


def test_rows_along_a_plain_chain() -> None:
    columns = facts(plain_chain([8, 32, 32, 32, 32, 32], without=2))
    assert columns["block.missing_part"] == {
        "fc0": "none", "fc1": "none", "fc2": "normalization", "fc3": "none", "fc4": "none",
    }  # fmt: skip
    assert columns["block.activation"]["fc2"] == "relu"


def test_the_code_of_an_autoencoder_is_no_odd_block() -> None:
    columns = facts(plain_chain([64, 32, 16, 4, 16, 32, 64], without=2, activation=False))
    assert "fc2" not in columns["block.name"]
    assert set(columns["block.missing_part"].values()) == {"none"}


# Normalizations


def test_layer_normalization_over_features_and_beside_them() -> None:
    g = Sketch({"x": IMAGE})
    h = g.conv("conv", "x", 16)
    last = g.transpose("channels_last", h, 0, 2, 3, 1)
    good = g.norm("good", last, Op.LAYER_NORM, normalized_shape=(16,))
    bad = g.layer(Op.LAYER_NORM, "bad", h, axes=(3,), eps=1e-5)
    whole = g.layer(Op.LAYER_NORM, "whole", h, axes=(1, 2, 3), eps=1e-5)
    raw = g.layer(Op.LAYER_NORM, "raw", "x", axes=(-1,), eps=1e-5)
    columns = facts(g.graph(good, bad, whole, raw))
    features = columns["layer.normalizes_features"]
    assert (features["good"], features["bad"], features["whole"]) == (True, False, True)
    assert isinstance(features["raw"], Unmeasured)
    counts = columns["layer.normalized_count"]
    assert (counts["good"], counts["bad"], counts["whole"]) == (16, 32, 16 * 32 * 32)


def test_token_mixing_keeps_the_channels_features() -> None:
    g = Sketch({"x": ("N", 8, 16)})
    h = g.dense("stem", "x", 16)
    inner = g.transpose("back", g.dense("mix", g.transpose("turn", h, 0, 2, 1), 8), 0, 2, 1)
    h = g.norm("norm", g.layer(Op.ADD, "sum", inner, h), Op.LAYER_NORM)
    assert facts(g.graph(h))["layer.normalizes_features"] == {"norm": True}


def test_counts_of_values_behind_one_statistic() -> None:
    g = Sketch({"x": IMAGE, "row": ("batch", 8)})
    h = g.conv("conv", "x", 16)
    spatial = g.norm("spatial", h)
    pooled = g.norm("pooled", g.layer(Op.GLOBAL_AVERAGE_POOL, "pool", spatial, shape=("batch", 16, 1, 1)))
    instance = g.norm("instance", pooled, Op.INSTANCE_NORM)
    grouped = g.layer(Op.GROUP_NORM, "grouped", h, num_groups=8, num_channels=16, eps=1e-5)
    whole = g.layer(Op.GROUP_NORM, "whole", h, num_groups=1, num_channels=16, eps=1e-5)
    one = g.layer(Op.GROUP_NORM, "one", h, num_groups=16, num_channels=16, eps=1e-5)
    row = g.layer(Op.BATCH_NORM, "of_row", g.dense("fc", "row", 4), eps=1e-5)
    columns = facts(g.graph(instance, grouped, whole, one, row))
    # A BatchNorm over single positions counts the batch alone, and that is not in the file.
    assert columns["layer.normalized_count"] == {
        "spatial": 32 * 32, "instance": 1, "grouped": 2 * 32 * 32, "whole": 16 * 32 * 32, "one": 32 * 32,
    }  # fmt: skip
    assert columns["layer.channels_per_group"] == {"grouped": 2, "one": 1}
    assert columns["layer.epsilon"]["grouped"] == 1e-5


@pytest.mark.parametrize("raw_op, expected", [("LayerNormalization", "float32"), ("ReduceMean+Sub+Pow", "float16")])
def test_half_precision_statistics(raw_op: str, expected: str) -> None:
    """ONNX's LayerNormalization keeps its statistics in float32 (stash_type 1) unless told."""
    g = Sketch({"x": ("N", 8)}, dtype="float16")
    h = g.norm("norm", g.dense("fc", "x", 8), Op.LAYER_NORM)
    graph = g.graph(h)
    layers = tuple(dataclasses.replace(l, raw_op=raw_op) if l.name == "norm" else l for l in graph.layers)
    columns = facts(dataclasses.replace(graph, layers=layers))
    assert columns["layer.compute_dtype"] == {"fc": "float16", "norm": expected}
    assert columns["layer.dtype_max"]["fc"] == float(np.finfo(np.float16).max)


def test_largest_numbers_of_types() -> None:
    for name in ("float16", "float32", "float64"):
        assert DTYPE_MAX[name] == float(np.finfo(name).max)
    bits = np.array([0x7F7F], dtype=np.uint32) << 16
    assert DTYPE_MAX["bfloat16"] == float(bits.view(np.float32)[0])


# Attention


def attention(g: Sketch, name: str, *inputs: str, **attributes: float) -> str:
    """ "scale" is a role's word too, so attributes are put in afterwards."""
    result = g.layer(Op.ATTENTION, name, *inputs)
    g.layers[-1] = dataclasses.replace(g.layers[-1], attributes=attributes)
    return result


def test_scale_of_attention() -> None:
    g = Sketch({"x": ("N", 4, 8, 16)})
    usual = attention(g, "usual", "x", "x", "x", scale=0.25, head_dim=16, mask_value=-1e9)
    unscaled = attention(g, "unscaled", usual, usual, usual, scale=1.0)
    unknown = attention(g, "unknown", unscaled, unscaled, unscaled, head_dim=16, mask_value=-math.inf)
    unit = g.layer(Op.LP_NORM, "unit", unknown)
    cosine = attention(g, "cosine", unit, unit, unknown, scale=1.0, head_dim=16)
    columns = facts(g.graph(cosine))
    ratio = columns["layer.attention_scale_ratio"]
    assert (ratio["usual"], ratio["unscaled"]) == (1.0, 4.0)
    assert isinstance(ratio["unknown"], Unmeasured)
    assert "cosine" not in ratio
    assert columns["layer.attention_head_size"] == {"usual": 16, "unscaled": 16, "unknown": 16, "cosine": 16}
    assert columns["layer.mask_value"] == {"usual": -1e9}


def test_mask_filled_into_scores() -> None:
    g = Sketch({"x": ("N", 8, 8)}, dtype="float16")
    masked = g.layer(Op.WHERE, "mask", "x", "x", fill=-1e9)
    other = g.layer(Op.WHERE, "other", "x", "x", fill=-1e9)
    graph = g.graph(g.layer(Op.SOFTMAX, "softmax", masked, dim=2), other)
    columns = facts(typed(graph, {}))
    assert columns["layer.mask_value"] == {"mask": -1e9}
    assert columns["layer.dtype_max"]["mask"] == 65504.0


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
        dataclasses.replace(l, parameters={"weight": "onnx::MatMul_7", "bias": "plain.bias"})
        if l.name == "plain"
        else l
        for l in graph.layers
    )
    graph = placed(dataclasses.replace(graph, layers=layers, parameters=renamed), {"plain": "head"})
    columns = facts(graph)
    assert columns["layer.code"] == {"encoder.0": "model.encoder[0]", "/act": "/act", "plain": "model.head"}
    assert columns["layer.module"] == {"encoder.0": "encoder.0", "/act": "/act", "plain": "head"}
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


def test_loss_in_the_graph() -> None:
    g = Sketch({"x": ("N", 8), "target": ("N",)})
    h = g.dense("head", "x", 4)
    assert loss_in_graph(g.graph(h)) is None
    graph = g.graph(g.layer(Op.LOSS, "loss", h, "target", shape=()))
    layers = (*graph.layers[:-1], dataclasses.replace(graph.layers[-1], attributes={"name": "nll"}))
    assert loss_in_graph(dataclasses.replace(graph, layers=layers)) == "nll"
