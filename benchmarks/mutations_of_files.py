"""Mutations of the exported file: what no module of the network could be asked to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import helper, numpy_helper
from torch import nn

from benchmarks.mutation import Mutation, everywhere


def _nodes(model: Any, op: str, place: str) -> list[Any]:
    """Nodes of one op whose name lies in the module `place` (torch's exporter writes /blocks/blocks.1/mlp/mlp.1/Relu)."""
    inside = "/".join(place.split("."))
    return [
        node for node in model.graph.node
        if node.op_type == op and (not place or place in node.name.replace("/", ".") or inside in node.name)
    ]  # fmt: skip


def _swap_all(old: str, new: str) -> Callable[[Any, str], None]:
    def apply(model: Any, place: str) -> None:
        for node in _nodes(model, old, place):
            node.op_type = new

    return apply


def _bypass(model: Any, node: Any) -> None:
    """Whoever reads the node's output reads its first input."""
    for reader in model.graph.node:
        for index, name in enumerate(reader.input):
            if name == node.output[0] and reader is not node:
                reader.input[index] = node.input[0]
    model.graph.node.remove(node)


def _no_skip(model: Any, place: str) -> None:
    """Behind the last sum of a block stands its branch alone. The branch is the addend that comes from deeper inside the block."""
    makers = {name: node for node in model.graph.node for name in node.output}
    total = _nodes(model, "Add", place)[-1]
    branch = max(total.input, key=lambda name: makers[name].name.count("/") if name in makers else 0)
    for index, name in enumerate(total.input):
        if name == branch:
            total.input[0], total.input[index] = total.input[index], total.input[0]
    _bypass(model, total)


def _remove_activation(model: Any, place: str) -> None:
    for node in _nodes(model, "Relu", ""):
        maker = next(maker for maker in model.graph.node if node.input[0] in maker.output)
        if place in [_module(name) for name in maker.input] or _module(maker.name) == place:
            _bypass(model, node)
            return
    raise LookupError(place)


def _module(name: str) -> str:
    """layers.3.weight → layers.3; /layers.3/Gemm → layers.3."""
    return name.strip("/").replace("/", ".").rpartition(".")[0]


def _glorot(model: nn.Module, _place: str) -> nn.Module:
    """With weights of 0.02 and narrow heads the scores are small without a scale, too."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
    return model


def _unscaled_attention(model: Any, _place: str) -> None:
    """The division of the scores by sqrt(d) is taken away, wherever a matrix product is divided by a constant."""
    products = {node.output[0] for node in model.graph.node if node.op_type == "MatMul"}
    divisions = [node for node in model.graph.node if node.op_type == "Div" and node.input[0] in products]
    if not divisions:
        raise LookupError("no scaled scores")
    for node in divisions:
        _bypass(model, node)


def _attention_over_batch(model: Any, place: str) -> None:
    nodes = _nodes(model, "Softmax", place)
    if not nodes:
        raise LookupError(place)
    for attribute in nodes[0].attribute:
        attribute.i = 0


def _saturated(model: Any, _place: str) -> None:
    _swap_all("Relu", "Tanh")(model, "")
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim == 2:
            tensor.CopyFrom(numpy_helper.from_array(10 * values, tensor.name))


def _dead_branch(model: Any, _place: str) -> None:
    """A layer with weights of its own reads a hidden value, and nothing reads the layer."""
    node = next(node for node in model.graph.node if node.op_type == "Gemm")
    width = next(
        numpy_helper.to_array(tensor).shape[1] for tensor in model.graph.initializer if tensor.name == node.input[1]
    )
    weight = np.random.default_rng(0).normal(0, 0.1, (width, 16)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "forgotten.weight"))
    model.graph.node.append(
        helper.make_node("MatMul", [node.input[0], "forgotten.weight"], ["forgotten_output"], "/forgotten/MatMul")
    )


def _ignored(model: Any, place: str) -> None:
    """Whoever read the input reads a constant of its shape instead, for a batch of two."""
    declared = next(value for value in model.graph.input if value.name == place)
    shape = [axis.dim_value or 2 for axis in declared.type.tensor_type.shape.dim]
    dtype = helper.tensor_dtype_to_np_dtype(declared.type.tensor_type.elem_type)
    model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, dtype), "fixed"))
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == place:
                node.input[index] = "fixed"


MUTATIONS = (
    Mutation(
        "ReLU → sigmoid throughout, in the file", ("saturating-stack", "predicted-vanishing-gradient", "saturated-activation"),
        everywhere("nerf", "squeezenet"), change_file=_swap_all("Relu", "Sigmoid"),
    ),
    Mutation(
        "ReLU → tanh throughout, weights ten times too large", ("saturating-stack", "saturated-activation", "oversized-init"),
        everywhere("nerf", "autoencoder"), change_file=_saturated,
    ),
    Mutation(
        "an activation removed, in the file", ("linear-stack",), {"nerf": "layers.3", "dlrm": "top.1"}, change_file=_remove_activation,
    ),
    Mutation(
        "the skip of one block dropped, in the file", ("odd-block-out",),
        {"resnet": "layers.1", "vit": "blocks.1", "mixer": "blocks.1", "gpt2_from_paper": "blocks.2"},
        change_file=_no_skip,
    ),
    Mutation(
        "attention without its scale, Glorot weights", ("missing-attention-scale",), everywhere("bert_mlm", "gpt2_from_paper", "llama_from_paper"),
        change=_glorot, change_file=_unscaled_attention,
    ),
    Mutation(
        "attention's softmax over the batch", ("softmax-axis",), {"bert_mlm": "layers.1", "gpt2_from_paper": "blocks.2", "gru_seq2seq": ""},
        change_file=_attention_over_batch,
    ),
    Mutation(
        "an input that is ignored", ("ignored-input",), {"siamese": "input1", "dit": "input2", "diffusion_unet": "input1", "dlrm": "input1"},
        change_file=_ignored,
    ),
    Mutation(
        "a layer that nothing reads", ("dead-branch", "unreachable-parameter"), dict.fromkeys(("resnet", "vgg_bn", "vae", "dlrm"), "forgotten"),
        change_file=_dead_branch,
    ),
)  # fmt: skip
