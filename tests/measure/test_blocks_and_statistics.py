"""Rows of blocks and what one of them lacks; what normalizations count; the scale and mask of attention."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from tests.measure.structure_graphs import IMAGE, Sketch, facts, placed, typed
from trainaudit.ir.graph import Graph, Source
from trainaudit.ir.ops import Op
from trainaudit.measure.facts import Unmeasured
from trainaudit.measure.static.layer_facts import DTYPE_MAX

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
    layers = tuple(
        dataclasses.replace(layer, raw_op=raw_op) if layer.name == "norm" else layer for layer in graph.layers
    )
    columns = facts(dataclasses.replace(graph, layers=layers))
    assert columns["layer.compute_dtype"] == {"fc": "float16", "norm": expected}
    assert columns["layer.dtype_max"]["fc"] == float(np.finfo(np.float16).max)


@pytest.mark.parametrize(
    "raw_op, module_class, form, known",
    [
        ("ReduceMean+Sub+Pow+ReduceMean+Sqrt+Div", "my.LayerNorm", "inference", False),
        ("ReduceMean+Sub+Pow+ReduceMean+Sqrt+Div", "my.LayerNorm", "training", True),
        ("ReduceMean+Sub+Pow+ReduceMean+Sqrt+Div", None, "inference", True),
        ("LayerNormalization", "torch.nn.LayerNorm", "inference", True),
    ],
)
def test_an_epsilon_that_the_exporter_may_have_dropped(
    raw_op: str, module_class: str | None, form: str, known: bool
) -> None:
    """The dynamo exporter optimizes `variance + 1e-12` to `variance`, as it does with any addition of nearly zero."""
    g = Sketch({"x": ("N", 8)})
    h = g.layer(Op.LAYER_NORM, "norm", "x", scale=np.ones(8), shift=np.zeros(8), axes=(-1,), eps=0.0)
    graph = g.graph(h)
    norm = dataclasses.replace(graph.layers[0], raw_op=raw_op, source=Source("norm", module_class))
    measured = facts(dataclasses.replace(graph, layers=(norm,), form=form))["layer.epsilon"]["norm"]
    assert measured == 0.0 if known else isinstance(measured, Unmeasured)


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
