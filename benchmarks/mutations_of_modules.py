"""Mutations of modules: one layer is replaced, added or taken away in the user's code."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.mutation import Mutation, everywhere, module_at, replaced

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)

ACTIVATIONS = {
    "vit": "blocks.1.mlp.1", "mixer": "blocks.1.channel_mix.1", "convnext": "3.act", "autoencoder": "3", "siamese": "fc.1",
    "vgg_bn": "classifier.1", "mobilenet_v2": "8.conv.2",
}  # fmt: skip
AFTER_RELU = {"autoencoder": "4", "siamese": "fc.2", "vgg_bn": "classifier.3"}
"""Network → a linear layer with a ReLU somewhere before it in the same Sequential."""

CLASSIFIERS = {
    "resnet": "fc",
    "vgg_bn": "classifier.6",
    "vit": "head",
    "mobilenet_v2": "17",
    "densenet": "25",
    "tcn": "head",
}
"""Network → its last layer, which gives logits."""

BLOCK_NORMS = {
    "resnet": "layers.3.bn1", "vit": "blocks.1.norm1", "mixer": "blocks.1.norm2", "convnext": "3.norm", "bert_mlm": "layers.1.norm1",
    "gpt2_from_paper": "blocks.2.ln_2", "llama_from_paper": "layers.1.ffn_norm", "mobilenet_v2": "8.conv.1",
}  # fmt: skip


class After(nn.Module):
    """The network, and one more step on its output."""

    def __init__(self, model: nn.Module, step: nn.Module) -> None:
        super().__init__()
        self.model, self.step = model, step

    def forward(self, *inputs: Tensor) -> Tensor:
        output = self.model(*inputs)
        return self.step(output[0] if isinstance(output, tuple) else output)


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class WrongAxis(nn.Module):
    """Normalizes over the tokens of [batch, tokens, features] instead of over the features."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(tokens)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


def _step_after(make: Callable[[], nn.Module]) -> Callable[[nn.Module, str], nn.Module]:
    return lambda model, _: After(model, make())


def _in_place(make: Callable[[nn.Module], nn.Module]) -> Callable[[nn.Module, str], nn.Module]:
    """`make` gets the module at the place and returns what takes its place."""
    return lambda model, place: replaced(model, place, make(module_at(model, place)))


def _without_norms(model: nn.Module, _place: str) -> nn.Module:
    for path, module in list(model.named_modules()):
        if isinstance(module, NORMS):
            replaced(model, path, nn.Identity())
    return model


def _swapped(old: type[nn.Module], make: Callable[[], nn.Module]) -> Callable[[nn.Module, str], nn.Module]:
    """Every activation of one kind replaced by another."""

    def apply(model: nn.Module, _place: str) -> nn.Module:
        for path, module in list(model.named_modules()):
            if type(module) is old:
                replaced(model, path, make())
        return model

    return apply


def _without_relu_before(model: nn.Module, place: str) -> nn.Module:
    parent, _, last = place.rpartition(".")
    siblings = model.get_submodule(parent)
    index = max(index for index in range(int(last)) if isinstance(siblings[index], nn.ReLU))
    return replaced(model, f"{parent}.{index}".removeprefix("."), nn.Identity())


def _no_skip(model: nn.Module, place: str) -> nn.Module:
    module_at(model, place).is_residual = False
    return model


def _before_head(make: Callable[[int], nn.Module]) -> Callable[[nn.Module, str], nn.Module]:
    """`make` gets the width and returns what stands between the trunk and the last layer."""

    def put(head: nn.Module) -> nn.Module:
        return nn.Sequential(make(head.in_features), head)

    return _in_place(put)


def _plain(width: int) -> nn.Module:
    return nn.Sequential(*[layer for _ in range(24) for layer in (nn.Linear(width, width), nn.ReLU())])


def _sigmoids(width: int) -> nn.Module:
    return nn.Sequential(*[layer for _ in range(6) for layer in (nn.Linear(width, width), nn.Sigmoid())])


def _smaller_epsilon(model: nn.Module, place: str) -> nn.Module:
    module_at(model, place).eps = 1e-13
    return model


def _single_logit(model: nn.Module, place: str) -> nn.Module:
    head = module_at(model, place)
    return replaced(model, place, nn.Sequential(nn.Linear(head.in_features, 1), nn.Softmax(dim=-1)))


HEAVY_STACK = (
    "unscaled-residual-branches", "missing-normalization", "predicted-exploding-signal", "predicted-exploding-gradient",
    "confident-output-init", "oversized-init", "init-activation-mismatch",
)  # fmt: skip
WITHERING = (
    "missing-normalization", "plain-depth", "predicted-vanishing-gradient", "predicted-vanishing-signal", "undersized-init",
    "init-activation-mismatch",
)  # fmt: skip
SIGMOIDS = ("saturating-stack", "predicted-vanishing-gradient", "saturated-activation", "missing-normalization")

MUTATIONS = (
    Mutation("every normalization dropped, signal grows", HEAVY_STACK, everywhere("preactivation_resnet"), _without_norms),
    Mutation("every normalization dropped, signal vanishes", WITHERING, everywhere("mobilenet_v2", "efficientnet", "bert_mlm"), _without_norms),
    Mutation("the normalization of one block dropped", ("odd-block-out",), BLOCK_NORMS, _in_place(lambda _: nn.Identity())),
    Mutation("the skip of one block dropped", ("odd-block-out",), {"mobilenet_v2": "8"}, _no_skip),
    Mutation("ReLU → sigmoid throughout", SIGMOIDS, everywhere("autoencoder"), _swapped(nn.ReLU, nn.Sigmoid)),
    Mutation("SELU → sigmoid throughout", SIGMOIDS, everywhere("self_normalizing"), _swapped(nn.SELU, nn.Sigmoid)),
    Mutation("six sigmoid layers before the head", SIGMOIDS, {"vit": "head", "resnet": "fc", "tcn": "head"}, _before_head(_sigmoids)),
    Mutation("24 plain ReLU layers before the head", WITHERING, {"vit": "head", "resnet": "fc", "tcn": "head"}, _before_head(_plain)),
    Mutation("one GELU → ReLU", ("inconsistent-activation",), {
        "vit": "blocks.1.mlp.1", "mixer": "blocks.1.channel_mix.1", "convnext": "3.act",
    }, _in_place(lambda _: nn.ReLU())),
    Mutation("one ReLU6 → tanh", ("inconsistent-activation",), {"mobilenet_v2": "8.conv.2"}, _in_place(lambda _: nn.Tanh())),
    Mutation("an activation removed", ("linear-stack",), AFTER_RELU, _without_relu_before),
    Mutation("an activation removed in one block", ("linear-stack", "odd-block-out", "inconsistent-activation"), {
        "vit": "blocks.1.mlp.1", "mixer": "blocks.1.channel_mix.1", "convnext": "3.act",
    }, _in_place(lambda _: nn.Identity())),
    Mutation("an activation applied twice", ("redundant-activation",), {
        "autoencoder": "3", "siamese": "fc.1", "vgg_bn": "classifier.1",
    }, _in_place(lambda module: nn.Sequential(module, nn.ReLU()))),
    Mutation("sigmoid on ReLU", ("redundant-activation",), {
        "autoencoder": "3", "siamese": "fc.1", "vgg_bn": "classifier.1",
    }, _in_place(lambda module: nn.Sequential(module, nn.Sigmoid()))),
    Mutation("softmax as a hidden activation", ("hidden-softmax",), ACTIVATIONS, _in_place(lambda _: nn.Softmax(dim=-1))),
    Mutation("rounded features before the head", ("non-differentiable-path",), CLASSIFIERS, _before_head(lambda _: Apply(torch.round))),
    Mutation("SELU network with ordinary dropout", ("selu-misuse",), everywhere("self_normalizing"), _swapped(nn.AlphaDropout, nn.Dropout)),
    Mutation("dropout before a BatchNorm", ("dropout-before-batchnorm",), {
        "resnet": "layers.3.bn1", "vgg_bn": "features.12", "unet": "middle.1", "mobilenet_v2": "8.conv.1",
    }, _in_place(lambda module: nn.Sequential(nn.Dropout(0.3), module))),
    Mutation("dropout after the last layer", ("dropout-on-output",), CLASSIFIERS, _in_place(lambda module: nn.Sequential(module, nn.Dropout(0.3)))),
    Mutation("dropout 0.9", ("excessive-dropout",), {
        "mobilenet_v2": "16", "vgg_bn": "classifier.5", "lstm_language_model": "drop", "squeezenet": "11",
    }, _in_place(lambda _: nn.Dropout(0.9))),
    Mutation("GroupNorm of one element", ("single-element-normalization",), {
        "resnet": "avgpool", "mobilenet_v2": "14",
    }, _in_place(lambda module: nn.Sequential(module, nn.GroupNorm(256, 256)))),
    Mutation("LayerNorm over the tokens", ("normalization-axis",), {"vit": "blocks.1.norm1"}, _in_place(lambda _: WrongAxis(17))),
    Mutation("ε of 1e-13", ("tiny-epsilon",), {**BLOCK_NORMS, "unet": "middle.1"}, _smaller_epsilon),
    Mutation("softmax before cross-entropy", ("double-softmax",), CLASSIFIERS, _step_after(lambda: nn.Softmax(dim=-1)), loss="cross-entropy"),
    Mutation("softmax over the batch", ("softmax-axis",), CLASSIFIERS, _step_after(lambda: nn.Softmax(dim=0))),
    Mutation("log of softmax", ("log-of-softmax",), CLASSIFIERS, _step_after(lambda: Apply(lambda x: torch.log(torch.softmax(x, -1))))),
    Mutation("softmax on one unit", ("single-unit-softmax",), {
        "resnet": "fc", "vit": "head", "tcn": "head", "vgg_bn": "classifier.6",
    }, _single_logit),
    Mutation("ReLU on the logits", ("rectified-output", "activation-before-softmax"), CLASSIFIERS, _step_after(nn.ReLU), loss="cross-entropy"),
    Mutation("sigmoid before softmax", ("activation-before-softmax",), CLASSIFIERS, _step_after(
        lambda: nn.Sequential(nn.Sigmoid(), nn.Softmax(dim=-1))
    )),
    Mutation("sigmoid before BCE on logits", ("sigmoid-before-logits-loss",), everywhere("siamese", "dlrm"),
             lambda model, _: model, loss="bce-with-logits"),
    Mutation("logits into BCE on probabilities", ("missing-output-activation",), {
        "resnet": "fc", "vit": "head", "tcn": "head",
    }, _in_place(lambda head: nn.Linear(head.in_features, 1)), loss="bce"),
    Mutation("cross-entropy on one unit", ("wrong-loss-for-output",), {
        "resnet": "fc", "vit": "head", "tcn": "head",
    }, _in_place(lambda head: nn.Linear(head.in_features, 1)), loss="cross-entropy"),
    Mutation("batch and features mixed by a view", ("batch-mixing-reshape",), CLASSIFIERS, _before_head(
        lambda _: Apply(lambda x: x.transpose(0, 1).reshape(x.shape))
    )),
    Mutation("a bottleneck of two units", ("narrow-bottleneck",), CLASSIFIERS, _before_head(
        lambda width: nn.Sequential(nn.Linear(width, 2), nn.ReLU(), nn.Linear(2, width), nn.ReLU())
    )),
    Mutation("logarithm of a ReLU", ("unguarded-log",), everywhere("vit", "tcn", "resnet"), _step_after(
        lambda: Apply(lambda x: torch.log(torch.relu(x)))
    )),
    Mutation("square root of what a dropout has zeroed", ("unguarded-sqrt",), everywhere("vit", "tcn", "resnet"), _step_after(
        lambda: Apply(lambda x: torch.sqrt(nn.functional.dropout(x.abs(), 0.5)))
    )),
    Mutation("unguarded norm", ("unguarded-norm",), everywhere("vit", "tcn", "resnet"), _step_after(
        lambda: Apply(lambda x: torch.sqrt((x * x).sum(-1)))
    )),
    Mutation("division by a sum", ("unguarded-division",), everywhere("vit", "tcn", "resnet"), _step_after(
        lambda: Apply(lambda x: x / x.sum(-1, keepdim=True))
    )),
    Mutation("softmax written out, temperature 0.001", ("exp-overflow",), everywhere("vit", "tcn", "resnet"), _step_after(
        lambda: Apply(lambda x: torch.exp(1000 * x) / torch.exp(1000 * x).sum(-1, keepdim=True))
    )),
)  # fmt: skip
