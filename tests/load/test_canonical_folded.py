"""A BatchNorm that an exporter multiplied into the layer before it is seen, by its note or by its trace, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.load.canonical_models import Weights, graph_of, loaded, text_model
from trainaudit.ir.ops import Op

IMAGE = "float[n, 8, 12, 12] x"
DEPTH = 6


def network(folded: bool, trained: bool, seed: int = 0) -> tuple[str, Weights]:
    """Six convolutions with ReLU: as initialised or with channels of unequal size, with a BatchNorm multiplied in or small biases."""
    generator = np.random.default_rng(seed)
    body, weights = [], {}
    name = "x"
    for step in range(DEPTH):
        kernel = generator.normal(0, np.sqrt(2 / 72), (8, 8, 3, 3))
        bias = generator.uniform(-1, 1, 8) / np.sqrt(72)
        if trained:
            kernel *= np.exp(generator.normal(0, 0.15, (8, 1, 1, 1)))
        if folded:
            factor = np.exp(generator.normal(0, 0.5, 8)) / np.sqrt(np.exp(generator.normal(0, 0.7, 8)))
            bias = generator.normal(0, 0.5, 8) - generator.normal(0, 0.7, 8) * factor
            kernel *= factor[:, None, None, None]
        weights[f"w{step}"], weights[f"b{step}"] = kernel.astype(np.float32), bias.astype(np.float32)
        body.append(f"c{step} = Conv<pads = [1, 1, 1, 1]>({name}, w{step}, b{step}) r{step} = Relu(c{step})")
        name = f"r{step}"
    return " ".join(body) + f" y = GlobalAveragePool({name})", weights


def test_trace_in_the_values(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, *network(folded=True, trained=True), inputs=IMAGE)
    assert len(graph.folded_normalizations) == DEPTH
    assert graph.folded_evidence == "weights"
    assert graph.form == "inference"


@pytest.mark.parametrize("trained", [False, True])
def test_no_trace_without_folding(trained: bool, tmp_path: Path) -> None:
    for seed in range(20):
        graph = graph_of(tmp_path, *network(folded=False, trained=trained, seed=seed), inputs=IMAGE)
        assert (graph.folded_normalizations, graph.folded_evidence) == ((), "none")


def test_values_say_nothing_beside_a_batch_norm_that_is_there(tmp_path: Path) -> None:
    body, weights = network(folded=True, trained=True)
    body = body.replace("y = GlobalAveragePool", "n = BatchNormalization(r5, s, s, s, s) y = GlobalAveragePool")
    graph = graph_of(tmp_path, body, {**weights, "s": np.ones(8, np.float32)}, inputs=IMAGE)
    assert graph.folded_normalizations == ()


def test_note_of_the_rewriter(tmp_path: Path) -> None:
    model = text_model("h = Conv(x, w, b) r = Relu(h) y = Conv(r, w, b)", IMAGE, "float y", {
        "w": np.ones((8, 8, 1, 1), np.float32), "b": np.ones(8, np.float32),
    })  # fmt: skip
    entry = model.graph.node[0].metadata_props.add()
    entry.key, entry.value = "pkg.onnxscript.rewriter.rule_name", "FuseBatchNormIntoConv, RemoveOptionalBiasFromConv"
    graph = loaded(tmp_path, model)
    assert graph.folded_normalizations == (graph.layers[0].name,)
    assert graph.folded_evidence == "metadata"


def test_names_that_the_older_exporter_gives_to_folded_weights(tmp_path: Path) -> None:
    weights = {"w": np.ones((8, 8, 1, 1), np.float32), "b": np.ones(8, np.float32)}
    model = text_model("h = Conv(x, w, b) r = Relu(h) y = Conv(r, conv2_weight, b2)", IMAGE, "float y", {
        **weights, "conv2_weight": weights["w"], "b2": weights["b"],
    })  # fmt: skip
    for tensor in model.graph.initializer[:2]:
        tensor.name = {"w": "onnx::Conv_42", "b": "onnx::Conv_43"}[tensor.name]
    model.graph.node[0].input[1:] = ["onnx::Conv_42", "onnx::Conv_43"]
    graph = loaded(tmp_path, model)
    assert graph.folded_normalizations == (graph.layers[0].name,)
    assert graph.folded_evidence == "weights"


def test_exporter_stores_the_zero_biases_of_folding_once(tmp_path: Path) -> None:
    """A fresh BatchNorm folds into a bias of zeros; torch's TorchScript exporter stores equal tensors once and names the others by Identity
    nodes: the biases that it made are no ties to the one that it kept."""
    zeros = np.zeros(8, np.float32)
    weights = {
        **{f"w{k}": np.random.default_rng(k).normal(size=(8, 8, 3, 3)).astype(np.float32) for k in range(3)},
        "b": zeros,
    }
    model = text_model(
        "i = Identity(b) j = Identity(b) h = Conv(x, w0, i) r = Relu(h) g = Conv(r, w1, j) s = Relu(g) y = Conv(s, w2, b)", IMAGE, "float y", weights,
    )  # fmt: skip
    names = {
        "w0": "onnx::Conv_35",
        "i": "onnx::Conv_36",
        "w1": "onnx::Conv_38",
        "j": "onnx::Conv_39",
        "w2": "9.weight",
        "b": "9.bias",
    }
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]
    graph = loaded(tmp_path, model)
    convolutions = [layer for layer in graph.layers if layer.op is Op.CONV]
    assert graph.folded_normalizations == tuple(layer.name for layer in convolutions[:2])
    assert graph.folded_evidence == "weights"
    assert [layer.parameters["bias"] for layer in convolutions] == ["onnx::Conv_36", "onnx::Conv_39", "9.bias"]
