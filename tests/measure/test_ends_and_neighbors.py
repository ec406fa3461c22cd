"""Inputs and outputs, neighbours of layers, what softmaxes are for, and where gradients stop."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.measure.structure_graphs import IMAGE, Sketch, facts, typed
from trainaudit.ir.graph import Value
from trainaudit.ir.ops import Op
from trainaudit.measure.facts import Unmeasured


def relu(g: Sketch, x: str) -> str:
    return g.layer(Op.RELU, f"relu_{x}", x)


def mlp(g: Sketch, width: int = 10) -> str:
    return g.dense("head", relu(g, g.dense("fc1", "x", 64)), width)


# Outputs


def test_final_activation_is_seen_through_reshapes_casts_and_selections() -> None:
    g = Sketch({"x": ("N", 8)})
    h = g.layer(Op.SOFTMAX, "softmax", relu(g, mlp(g)), dim=1)
    h = g.layer(Op.CAST, "cast", h, to="float32")
    h = g.view("view", h, "N", 2, 5)
    h = g.layer(Op.GATHER, "pick", h, shape=("N", 5), dim=1)
    columns = facts(g.graph(h))
    assert columns["output.final_activation"] == {h: "softmax"}
    assert columns["output.final_activation_layer"] == {h: "softmax"}
    assert columns["output.earlier_activation"] == {h: "relu"}
    assert columns["output.final_op"] == {h: "softmax"}
    assert columns["layer.previous_activation"]["softmax"] == "relu"
    assert columns["layer.previous_activation_layer"]["softmax"] == "relu_head"


def test_linear_output() -> None:
    g = Sketch({"x": ("N", 8)})
    out = mlp(g)
    columns = facts(g.graph(out))
    assert columns["output.final_activation"] == {out: "none"}
    assert columns["output.unit_count"] == {out: 10}
    assert columns["output.rank"] == {out: 2}
    assert columns["output.is_trunk_feature"] == {out: False}
    assert columns["output.is_primary"] == {out: True}


def test_pieces_that_end_alike_have_one_final_activation() -> None:
    g = Sketch({"x": ("N", 8)})
    h = relu(g, g.dense("trunk", "x", 16))
    pieces = [g.layer(Op.SIGMOID, f"sigmoid{i}", g.dense(f"head{i}", h, 3)) for i in range(2)]
    same = g.layer(Op.CONCAT, "same", *pieces, shape=("N", 6), dim=1)
    other = g.layer(Op.CONCAT, "other", pieces[0], g.dense("box", h, 4), shape=("N", 7), dim=1)
    columns = facts(g.graph(same, other))
    assert columns["output.final_activation"] == {"same": "sigmoid", "other": "none"}
    assert columns["output.is_primary"] == {"same": True, "other": False}


@pytest.mark.parametrize(
    "shape, width, expected",
    [(("N", 5), 5, 5), (("N",), 1, 1), (("N", 7, 5), 5, 5), ((5,), 5, 5), (("N", 7), 1, 1)],
)
def test_units_of_outputs(shape: tuple[int | str, ...], width: int, expected: int) -> None:
    g = Sketch({"x": ("N", 7, 8)})
    out = g.layer(Op.SQUEEZE, "squeeze", g.dense("head", "x", width), shape=shape, axes=(1,))
    assert facts(g.graph(out))["output.unit_count"] == {out: expected}


def test_units_of_a_feature_map_and_of_a_softmax_axis() -> None:
    g = Sketch({"x": IMAGE})
    classes = g.conv("head", relu(g, g.conv("stem", "x", 16)), 21, 1)
    probable = g.layer(Op.SOFTMAX, "softmax", classes, dim=1)
    last = g.layer(Op.SOFTMAX, "last", classes, dim=3)
    columns = facts(g.graph(classes, probable, last))
    assert columns["output.unit_count"] == {"head": 21, "softmax": 21, "last": 32}


def test_units_that_the_batch_may_hide_are_not_guessed() -> None:
    g = Sketch({"x": ("N", 8)})
    out = g.layer(Op.REDUCE_SUM, "sum", mlp(g), shape=("N",), axes=(1,), keepdim=False)
    assert isinstance(facts(g.graph(out))["output.unit_count"][out], Unmeasured)


def test_trunk_features() -> None:
    g = Sketch({"x": ("N", 6, 16)})
    h = relu(g, g.dense("stem", "x", 16))
    summed = g.layer(Op.ADD, "sum", h, g.dense("end", relu(g, g.dense("inner", h, 32)), 16))
    hidden = g.norm("norm", summed, Op.LAYER_NORM)
    rectified = relu(g, g.dense("head", hidden, 4))
    columns = facts(g.graph(hidden, rectified, summed))
    assert columns["output.is_trunk_feature"] == {"norm": True, "relu_head": False, "sum": True}


def test_convolutional_features() -> None:
    g = Sketch({"x": IMAGE})
    h = relu(g, g.conv("a", "x", 16))
    wide = g.layer(Op.MAX_POOL, "pool", relu(g, g.conv("b", h, 32)))
    narrow = relu(g, g.conv("mask", h, 1))
    assert facts(g.graph(wide, narrow))["output.is_trunk_feature"] == {"pool": True, "relu_mask": False}


def test_dropout_on_the_output() -> None:
    g = Sketch({"x": ("N", 8)})
    h = relu(g, g.layer(Op.DROPOUT, "inside", g.dense("fc1", "x", 64), p=0.5))
    h = g.layer(Op.DROPOUT, "last", g.dense("head", h, 4), p=0.25)
    out = g.layer(Op.SOFTMAX, "softmax", h, dim=1)
    columns = facts(g.graph(out))
    assert columns["output.final_dropout_rate"] == {out: 0.25}
    assert columns["output.final_dropout_layer"] == {out: "last"}
    assert columns["layer.dropout_rate"] == {"inside": 0.5, "last": 0.25}
    assert columns["output.final_op"] == {out: "softmax"}


# Reachability


def test_inputs_and_outputs_that_are_not_connected() -> None:
    g = Sketch({"x": ("N", 8), "mask": ("N", 8), "sizes": ("N", 8)})
    out = mlp(g)
    shape = g.layer(Op.SHAPE, "shape", "sizes", shape=(2,))
    constant = g.layer(Op.CONSTANT, "ones", shape, shape=("N", 8))
    dead = relu(g, g.dense("dead", "x", 4))
    columns = facts(g.graph(out, constant))
    assert columns["input.reaches_output"] == {"x": True, "mask": False, "sizes": False}
    assert columns["output.depends_on_input"] == {out: True, "ones": False}
    assert columns["output.is_primary"] == {out: True, "ones": False}
    reaches = columns["layer.reaches_output"]
    assert reaches["head"] is True
    assert reaches["dead"] is reaches[dead] is False
    # What is computed from sizes alone is no branch of the network.
    assert "shape" not in reaches
    assert columns["parameter.reaches_output"]["dead.weight"] is False
    assert columns["parameter.reaches_output"]["head.weight"] is True
    assert columns["layer.role"]["dead"] == "auxiliary"


# Gradients


def test_step_between_two_layers() -> None:
    g = Sketch({"x": ("N", 8)})
    h = g.layer(Op.ROUND, "round", relu(g, g.dense("fc1", "x", 16)))
    columns = facts(g.graph(g.dense("head", h, 4)))
    assert columns["parameter.is_gradient_blocked"] == {
        "fc1.weight": True, "fc1.bias": True, "head.weight": False, "head.bias": False,
    }  # fmt: skip
    assert columns["parameter.gradient_blocker"] == {
        "fc1.weight": "round", "fc1.bias": "round", "head.weight": "none", "head.bias": "none",
    }  # fmt: skip
    assert columns["parameter.gradient_blocker_op"]["fc1.weight"] == "Round"
    assert columns["parameter.is_blocker_before_weights"]["fc1.weight"] is True


@pytest.mark.parametrize("kind", ["cast", "index", "condition"])
def test_other_ways_to_lose_a_gradient(kind: str) -> None:
    g = Sketch({"x": ("N", 8)})
    h = g.dense("fc1", "x", 16)
    if kind == "cast":
        blocker = h = g.layer(Op.CAST, "to_int", h, to="int64")
        h = g.layer(Op.CAST, "to_float", h, to="float32")
    elif kind == "index":
        chosen = g.layer(Op.CAST, "to_int", h, to="int64")
        blocker = chosen
        h = g.layer(Op.EMBEDDING, "codes", chosen, shape=("N", 16, 4), embedding=np.ones((50, 4)))
        h = g.view("flat", h, "N", 64)
    else:
        other = g.dense("value", "x", 16)
        above = g.layer(Op.COMPARE, "compare", h)
        blocker = above
        h = g.layer(Op.WHERE, "where", above, other, fill=0.0)
    columns = facts(g.graph(g.dense("head", h, 4)))
    assert columns["parameter.is_gradient_blocked"]["fc1.weight"] is True
    assert columns["parameter.gradient_blocker"]["fc1.weight"] == blocker
    assert columns["parameter.is_gradient_blocked"]["head.weight"] is False


def test_straight_through_keeps_a_path() -> None:
    g = Sketch({"x": ("N", 8)})
    h = g.dense("fc1", "x", 16)
    difference = g.layer(Op.SUB, "difference", g.layer(Op.ROUND, "round", h), h)
    h = g.layer(Op.ADD, "straight_through", h, difference)
    assert True not in facts(g.graph(g.dense("head", h, 4)))["parameter.is_gradient_blocked"].values()


@pytest.mark.parametrize("op", [Op.ARGMAX, Op.COMPARE])
def test_labels_at_the_end_block_nothing(op: Op) -> None:
    g = Sketch({"x": ("N", 8)})
    out = g.layer(op, "labels", mlp(g), shape=("N",))
    graph = typed(g.graph(out), {out: "int64" if op is Op.ARGMAX else "bool"})
    columns = facts(graph)
    assert set(columns["parameter.is_gradient_blocked"].values()) == {False}
    assert columns["output.is_primary"] == {out: False}
    assert columns["layer.role"] == {"fc1": "hidden", "head": "output-head"}


def test_a_rounded_float_output_blocks_but_no_weights_follow() -> None:
    g = Sketch({"x": ("N", 8)})
    columns = facts(g.graph(g.layer(Op.ROUND, "round", mlp(g))))
    assert set(columns["parameter.is_gradient_blocked"].values()) == {True}
    assert set(columns["parameter.is_blocker_before_weights"].values()) == {False}


def test_nearest_codebook_entry_does_not_block_the_codebook() -> None:
    g = Sketch({"x": ("N", 8)})
    code = g.dense("encoder", "x", 16)
    distance = g.dense("distance", code, 50, bias=False, weight=np.ones((50, 16)))
    nearest = g.layer(Op.ARGMAX, "nearest", distance, shape=("N",))
    found = g.layer(Op.EMBEDDING, "codebook", nearest, shape=("N", 16), embedding=np.ones((50, 16)))
    h = g.layer(Op.ADD, "through", code, g.layer(Op.SUB, "difference", found, code))
    columns = facts(g.graph(g.dense("decoder", relu(g, h), 8)))
    assert True not in columns["parameter.is_gradient_blocked"].values()


def test_first_of_two_steps_is_named() -> None:
    g = Sketch({"x": ("N", 8)})
    h = g.layer(Op.SIGN, "sign", g.dense("fc1", "x", 16))
    h = g.layer(Op.FLOOR, "floor", g.dense("fc2", h, 16))
    columns = facts(g.graph(g.dense("head", h, 4)))
    assert columns["parameter.gradient_blocker"]["fc1.weight"] == "sign"
    assert columns["parameter.gradient_blocker"]["fc2.weight"] == "floor"


# Neighbours


def test_neighbours_of_layers() -> None:
    g = Sketch({"x": IMAGE})
    h = g.layer(Op.RELU, "act", g.norm("bn", g.conv("conv", "x", 16)))
    h = g.layer(Op.DROPOUT, "drop", h, p=0.1)
    h = g.norm("after_drop", h)
    h = g.layer(Op.SELU, "selu", h)
    shared = g.conv("shared", h, 16)
    out = g.layer(Op.MUL, "mul", g.layer(Op.TANH, "a", shared), g.layer(Op.SIGMOID, "b", shared))
    columns = facts(g.graph(out))
    activation = columns["layer.activation"]
    assert activation == {"conv": "none", "bn": "relu", "after_drop": "selu", "shared": "none"}
    assert columns["layer.next_normalization"]["conv"] == "batch_norm"
    assert columns["layer.next_normalization_layer"]["conv"] == "bn"
    assert columns["layer.next_normalization"]["drop"] == "batch_norm"
    assert columns["layer.next_normalization"]["shared"] == "none"
    assert columns["layer.next_dropout"] == {"act": "dropout", "selu": "none", "a": "none", "b": "none"}
    assert columns["layer.is_beside_normalization"] == {"act": True, "selu": True, "a": False, "b": False}
    assert columns["layer.has_bias"] == {"conv": False, "shared": False}


def test_the_model_itself_is_a_consumer() -> None:
    """A layer whose result is also an output does not feed its activation alone."""
    g = Sketch({"x": ("N", 8)})
    h = g.dense("fc", "x", 4)
    assert facts(g.graph(relu(g, h), h))["layer.activation"] == {"fc": "none"}


# Softmax and sigmoid


def use(g: Sketch, *outputs: str) -> dict[str, object]:
    return dict(facts(g.graph(*outputs))["layer.softmax_use"])


def test_softmax_on_the_output_and_inside() -> None:
    g = Sketch({"x": ("N", 8)})
    h = g.layer(Op.SOFTMAX, "inside", g.dense("fc1", "x", 16), dim=1)
    assert use(g, g.layer(Op.SOFTMAX, "outside", g.dense("head", h, 4), dim=1)) == {
        "inside": "hidden",
        "outside": "output",
    }


def test_sigmoid_that_gates() -> None:
    g = Sketch({"x": ("N", 8)})
    h = relu(g, g.dense("fc1", "x", 16))
    gate = g.layer(Op.SIGMOID, "gate", g.dense("g", h, 16))
    h = g.layer(Op.MUL, "mul", h, gate)
    g.layer(Op.SIGMOID, "hidden", g.dense("fc2", h, 8))
    assert use(g, g.dense("head", "hidden", 4)) == {"gate": "gate", "hidden": "hidden"}


def test_routing() -> None:
    g = Sketch({"x": ("N", 8)})
    weights = g.layer(Op.SOFTMAX, "router", g.dense("g", "x", 4), dim=1)
    best, chosen = g.layer_with_outputs(Op.TOP_K, "top", weights, shapes=(("N", 2), ("N", 2)), dim=1)
    expert = relu(g, g.dense("expert", "x", 2))
    picked = g.layer(Op.GATHER, "pick", expert, chosen, dim=1)
    assert use(g, g.dense("head", g.layer(Op.MUL, "weigh", best, picked), 3))["router"] == "routing"


def test_softmax_into_a_loss() -> None:
    g = Sketch({"x": ("N", 8), "target": ("N",)})
    h = g.layer(Op.SOFTMAX, "softmax", g.dense("head", "x", 4), dim=1)
    assert use(g, g.layer(Op.LOSS, "loss", h, "target", shape=())) == {"softmax": "loss"}


def test_mean_of_a_distribution_over_bins() -> None:
    g = Sketch({"x": ("N", 8)})
    h = g.layer(Op.SOFTMAX, "bins", g.dense("fc", "x", 16), dim=1)
    assert use(g, g.dense("mean", h, 1, bias=False)) == {"bins": "attention"}


def test_softmax_axis_size() -> None:
    g = Sketch({"x": ("N", 8)})
    one = g.layer(Op.SOFTMAX, "one", g.dense("head", "x", 1), dim=-1)
    free = g.layer(Op.SOFTMAX, "free", "x", dim=0)
    sizes = facts(g.graph(one, free))["layer.softmax_axis_size"]
    assert sizes["one"] == 1
    assert isinstance(sizes["free"], Unmeasured)


def test_outputs_without_a_known_shape() -> None:
    g = Sketch({"x": ("N", 8)})
    out = mlp(g)
    graph = g.graph(out)
    values = {**graph.values, out: Value(out, None, None, graph.values[out].producer, ())}
    columns = facts(dataclasses.replace(graph, values=values))
    assert isinstance(columns["output.rank"][out], Unmeasured)
    assert isinstance(columns["output.unit_count"][out], Unmeasured)
    assert isinstance(columns["layer.compute_dtype"]["head"], str)
