"""A graph of weights alone: what the names and shapes of a state dict tell, and what they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trainaudit.ir.graph import Graph, Origin, Role, TensorData
from trainaudit.ir.ops import Op
from trainaudit.ir.tensor import ArrayData
from trainaudit.ir.verify import verify
from trainaudit.load.module_tree import module_tree
from trainaudit.measure.facts import Unmeasured
from trainaudit.measure.measuring import measure
from trainaudit.measure.static.unconnected import UNTOLD
from trainaudit.settings import LOSSES

ORIGIN = Origin("m.safetensors", "safetensors", 0)


def tree(**shapes: tuple[int, ...] | TensorData) -> Graph:
    """Double underscores in names are dots."""
    tensors = {
        name.replace("__", "."): ArrayData(np.full(given, 0.5, np.float32)) if isinstance(given, tuple) else given
        for name, given in shapes.items()
    }
    graph = module_tree(tensors, ORIGIN)
    assert verify(graph) == ()
    assert not graph.is_connected
    return graph


def ops(graph: Graph) -> dict[str, Op]:
    return {layer.name: layer.op for layer in graph.layers}


@pytest.mark.parametrize(
    ("shapes", "op", "attributes"),
    [
        ({"weight": (8, 4), "bias": (8,)}, Op.LINEAR, {"in_features": 4, "out_features": 8}),
        ({"weight": (4, 8), "bias": (8,)}, Op.LINEAR, {"in_features": 4, "out_features": 8}),  # GPT-2 stores (in, out)
        ({"weight": (8, 3, 5), "bias": (8,)}, Op.CONV, {"kernel_size": (5,)}),
        ({"weight": (8, 3, 5, 5)}, Op.CONV, {"kernel_size": (5, 5)}),
        ({"weight": (3, 8, 5, 5), "bias": (8,)}, Op.CONV_TRANSPOSE, {"kernel_size": (5, 5)}),
        ({"weight": (8,), "bias": (8,)}, Op.LAYER_NORM, {"normalized_shape": (8,)}),
        ({"weight": (8, 4), "bias": (8, 4)}, Op.LAYER_NORM, {"normalized_shape": (8, 4)}),
        ({"weight": (8,)}, Op.RMS_NORM, {"normalized_shape": (8,)}),
        ({"gamma": (8,), "beta": (8,)}, Op.LAYER_NORM, {"normalized_shape": (8,)}),
        ({"weight": (1,)}, Op.PRELU, {}),
        ({"running_mean": (8,), "running_var": (8,)}, Op.BATCH_NORM, {"num_features": 8}),
        ({"weight": (8,), "bias": (8,), "running_mean": (8,), "running_var": (8,)}, Op.BATCH_NORM, {"num_features": 8}),
        ({"in_proj_weight": (12, 4), "in_proj_bias": (12,)}, Op.LINEAR, {"in_features": 4, "out_features": 12}),
        ({"weight_g": (8, 1), "weight_v": (8, 4)}, Op.LINEAR, {"in_features": 4, "out_features": 8}),
    ],
)
def test_the_kind_of_a_module(shapes: dict[str, Any], op: Op, attributes: dict[str, Any]) -> None:
    graph = tree(**{f"net__part__{name}": shape for name, shape in shapes.items()})
    layer = graph.layers[0]
    assert (layer.name, layer.op, layer.source.module) == ("net.part", op, "net.part")
    assert dict(layer.attributes) == attributes


@pytest.mark.parametrize("name", ["emb", "wte", "word_embeddings", "embed_tokens", "tok_embed", "shared"])
def test_embeddings_are_told_by_their_names(name: str) -> None:
    assert ops(tree(**{f"model__{name}__weight": (50, 8)})) == {f"model.{name}": Op.EMBEDDING}
    assert ops(tree(model__head__weight=(50, 8))) == {"model.head": Op.LINEAR}


def test_what_a_module_holds_itself_is_of_no_known_kind() -> None:
    graph = tree(vit__cls_token=(1, 1, 8), vit__pos_embed=(1, 5, 8), vit__proj__weight=(8, 3, 4, 4))
    assert ops(graph) == {"vit": Op.OTHER, "vit.proj": Op.CONV}
    assert graph.unrecognized == (("module of unknown kind", 1),)
    assert {graph.parameters[name].role for name in ("vit.cls_token", "vit.pos_embed")} == {Role.POSITION}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_names_are_without_the_wrappers(prefix: str) -> None:
    graph = module_tree({f"{prefix}fc.weight": ArrayData(np.ones((4, 3), np.float32))}, ORIGIN)
    assert list(graph.parameters) == ["fc.weight"]


def test_integers_are_no_parameters_but_quantized_weights_are() -> None:
    counter, packed = ArrayData(np.array(3)), ArrayData(np.ones((4, 3), np.int32))
    graph = tree(
        bn__running_mean=(4,), bn__num_batches_tracked=counter, ids=ArrayData(np.arange(5)), fc__qweight=packed
    )
    assert set(graph.parameters) == {"bn.running_mean", "fc.qweight"}
    assert graph.parameters["fc.qweight"].quantized


def test_tied_weights_are_one_parameter() -> None:
    table = ArrayData(np.ones((50, 8), np.float32))
    graph = tree(emb__weight=table, head__weight=table)
    (parameter,) = graph.parameters.values()
    assert (parameter.name, parameter.role, parameter.owners) == ("emb.weight", Role.EMBEDDING, (0, 1))


@pytest.mark.parametrize(("gates", "op"), [(4, Op.LSTM), (3, Op.GRU), (1, Op.RNN)])
def test_recurrent_layers(gates: int, op: Op) -> None:
    rows = gates * 6
    shapes = {"weight_ih_l0": (rows, 5), "weight_hh_l0": (rows, 6), "bias_ih_l0": (rows,), "bias_hh_l0": (rows,)}
    layer = tree(**{f"cell__{name}": shape for name, shape in shapes.items()}).layers[0]
    assert (layer.op, layer.attributes["hidden_size"]) == (op, 6)


def test_the_forget_gate_is_the_second_of_torch() -> None:
    hidden = 6
    bias = np.zeros(4 * hidden, np.float32)
    bias[hidden : 2 * hidden] = 1.25
    graph = tree(
        lstm__weight_ih_l0=(4 * hidden, 5), lstm__weight_hh_l0=(4 * hidden, hidden),
        lstm__bias_ih_l0=ArrayData(bias), lstm__bias_hh_l0=ArrayData(np.zeros(4 * hidden, np.float32)),
    )  # fmt: skip
    table = measure(graph, loss=None, expects=LOSSES)
    assert table.columns["layer.forget_gate_bias"] == {graph.layers[0].name: pytest.approx(1.25)}


def test_what_needs_edges_is_unmeasured_for_what_is_there_and_for_what_is_not() -> None:
    graph = tree(fc1__weight=(8, 4), fc2__weight=(3, 8))
    columns = measure(graph, loss=None, expects=LOSSES).columns
    for fact in ("layer.activation", "layer.reaches_output", "layer.wanted_gain"):
        assert all(isinstance(columns[fact][name], Unmeasured) for name in ("fc1", "fc2", UNTOLD))
    assert isinstance(columns["output.final_activation"][UNTOLD], Unmeasured)
    assert columns["layer.op"]["fc1"] == "linear"
    assert isinstance(columns["layer.op"][UNTOLD], Unmeasured)
    assert columns["layer.role"]["fc1"] == "hidden"  # fc2 takes as many features as it gives
    assert isinstance(columns["layer.role"]["fc2"], Unmeasured)


def test_no_tensors_at_all_are_a_sound_graph() -> None:
    assert tree().layers == ()
    measure(tree(), loss=None, expects=LOSSES)
