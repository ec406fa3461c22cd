"""Mutations of weights: the graph stays as it was."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.mutation import Mutation, everywhere, module_at

HIDDEN = {
    "resnet": "layers.3.conv1", "vgg_bn": "features.11", "preactivation_resnet": "2.conv1", "densenet": "2.conv1",
    "squeezenet": "7.expand3x3", "mobilenet_v2": "8.conv.0", "efficientnet": "4.block.0", "convnext": "3.pwconv1",
    "vit": "blocks.1.mlp.0", "mixer": "blocks.1.channel_mix.0", "bert_mlm": "layers.1.up", "gpt2_from_paper": "blocks.2.c_fc",
    "llama_from_paper": "layers.1.w1", "t5": "encoder.1.wi", "dit": "blocks.1.fc1", "wavenet": "blocks.2.filter",
    "mamba_scan": "blocks.1.in_proj", "tcn": "blocks.2.conv1", "unet": "middle.0", "dcgan_discriminator": "5", "vae": "fc1",
    "autoencoder": "2", "diffusion_unet": "middle1.conv1", "siamese": "fc.0", "dlrm": "top.1", "nerf": "layers.3", "siren": "2.linear",
}  # fmt: skip
"""A layer inside the network: neither its first nor its last, nor the end of a residual branch, where zeros are an idiom."""

ZEROED = {name: place for name, place in HIDDEN.items() if name not in ("llama_from_paper", "diffusion_unet")}
"""A gate of zeros in SwiGLU, and the layer before a zero layer with a time embedding between, still get their gradients."""

TWINS = {
    "resnet": ("layers.0.conv1", "layers.1.conv1"), "vgg_bn": ("features.22", "features.25"),
    "vit": ("blocks.1.mlp.0", "blocks.2.mlp.0"), "mixer": ("blocks.1.channel_mix.0", "blocks.2.channel_mix.0"),
    "bert_mlm": ("layers.1.up", "layers.2.up"), "gpt2_from_paper": ("blocks.2.c_fc", "blocks.3.c_fc"),
    "llama_from_paper": ("layers.1.w1", "layers.2.w1"), "nerf": ("layers.3", "layers.4"), "tcn": ("blocks.2.conv1", "blocks.3.conv1"),
    "wavenet": ("blocks.2.filter", "blocks.3.filter"), "mobilenet_v2": ("7.conv.0", "8.conv.0"),
}  # fmt: skip

PLAIN = ("autoencoder", "nerf", "squeezenet", "dlrm", "vae", "tcn")
"""Networks without a normalization: the scale of a weight is the scale of the signal."""

RECTIFIED = {
    "autoencoder": "2",
    "squeezenet": "7.expand3x3",
    "nerf": "layers.3",
    "tcn": "blocks.2.conv1",
    "dlrm": "top.1",
    "siamese": "fc.0",
}

HEADS = {
    "resnet": "fc", "vit": "head", "densenet": "25", "squeezenet": "12", "llama_from_paper": "output", "preactivation_resnet": "14",
}  # fmt: skip

TRAINED = ("resnet", "vgg_bn", "vit", "gpt2_from_paper", "llama_from_paper", "autoencoder", "nerf")

TOO_LARGE = (
    "oversized-init", "init-activation-mismatch", "confident-output-init", "predicted-exploding-signal",
    "predicted-exploding-gradient", "extreme-weights", "saturated-activation", "exp-overflow", "unscaled-residual-branches",
)  # fmt: skip
TOO_SMALL = (
    "undersized-init", "init-activation-mismatch", "predicted-vanishing-signal", "predicted-vanishing-gradient",
)  # fmt: skip


def _weight(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[nn.Module, str], nn.Module]:
    """The mutation that puts `change(weight)` in the place of one module's weight."""

    def apply(model: nn.Module, place: str) -> nn.Module:
        parameter = module_at(model, place).weight
        parameter.data = change(parameter.data.clone())
        return model

    return apply


def _bias(value: float) -> Callable[[nn.Module, str], nn.Module]:
    def apply(model: nn.Module, place: str) -> nn.Module:
        module_at(model, place).bias.data.fill_(value)
        return model

    return apply


def _with_entry(value: float) -> Callable[[nn.Module, str], nn.Module]:
    """One weight of a layer is `value`."""

    def put(weight: torch.Tensor) -> torch.Tensor:
        weight.view(-1)[weight.numel() // 2] = value
        return weight

    return _weight(put)


def _clone(model: nn.Module, place: str) -> nn.Module:
    first = next(first for first, second in TWINS.values() if second == place)
    module_at(model, place).load_state_dict(module_at(model, first).state_dict())
    return model


def _all_weights(factor: float) -> Callable[[nn.Module, str], nn.Module]:
    def apply(model: nn.Module, _place: str) -> nn.Module:
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.data.mul_(factor)
        return model

    return apply


def _redrawn(std: float) -> Callable[[nn.Module, str], nn.Module]:
    """Every matrix and kernel drawn anew from N(0, std²)."""

    def apply(model: nn.Module, _place: str) -> nn.Module:
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                nn.init.normal_(parameter, 0.0, std)
        return model

    return apply


def _half_rows_alike(weight: torch.Tensor) -> torch.Tensor:
    weight[1 : weight.shape[0] // 2] = weight[0]
    return weight


def _low_rank(weight: torch.Tensor) -> torch.Tensor:
    flat = weight.flatten(1)
    product = torch.randn(flat.shape[0], 2) @ torch.randn(2, flat.shape[1])
    return (product * flat.std() / product.std()).reshape(weight.shape)


def _half_in_fp16(model: nn.Module, place: str) -> nn.Module:
    module_at(model, place).weight.data.view(-1)[5] = 60000.0
    return model.half()


def _forget(model: nn.Module, place: str) -> nn.Module:
    lstm = module_at(model, place)
    width = lstm.hidden_size
    for bias in (lstm.bias_ih_l0, lstm.bias_hh_l0):
        bias.data.zero_()
        bias.data[width : 2 * width] = -1.0
    return model


def _fresh_again(model: nn.Module, place: str) -> nn.Module:
    module_at(model, place).reset_parameters()
    return model


def _untouched_statistics(model: nn.Module, _place: str) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    return model


def _collapsed(model: nn.Module, place: str) -> nn.Module:
    norm = module_at(model, place)
    norm.weight.data[: norm.weight.numel() // 2] = 0.0
    norm.bias.data[: norm.bias.numel() // 2] = 0.0
    return model


def _only(places: dict[str, str], *names: str) -> dict[str, str]:
    return {name: places[name] for name in names}


MUTATIONS = (
    Mutation("all-zero hidden layer", ("zero-init-hidden",), ZEROED, _weight(torch.zeros_like)),
    Mutation("constant hidden layer", ("symmetric-init",), HIDDEN, _weight(lambda weight: torch.full_like(weight, 0.05))),
    Mutation("half the units alike", ("symmetric-init",), HIDDEN, _weight(_half_rows_alike)),
    Mutation("weights of rank 2", ("rank-deficient-init",), HIDDEN, _weight(_low_rank)),
    Mutation("cloned layer", ("identical-layers-init",), {name: second for name, (_, second) in TWINS.items()}, _clone),
    Mutation("NaN in a weight", ("non-finite-weights",), HIDDEN, _with_entry(float("nan"))),
    Mutation("infinity in a weight", ("non-finite-weights",), HIDDEN, _with_entry(float("inf"))),
    Mutation("one weight of 1e5", ("extreme-weights",), HIDDEN, _with_entry(1e5)),
    Mutation("fp16 weight of 60000", ("half-overflow",), _only(HIDDEN, "vit", "autoencoder", "nerf", "dlrm"), _half_in_fp16),
    Mutation("hidden layer × 100, no normalization", TOO_LARGE, _only(HIDDEN, "squeezenet", "vae"), _weight(lambda weight: 100 * weight)),
    Mutation("all layers × 5, no normalization", TOO_LARGE, everywhere("autoencoder", "nerf", "squeezenet", "vae"), _all_weights(5.0)),
    Mutation("all layers × 0.05, no normalization", TOO_SMALL, everywhere("autoencoder", "nerf", "squeezenet"), _all_weights(0.05)),
    Mutation("all layers N(0, 1), no normalization", TOO_LARGE, everywhere(*PLAIN), _redrawn(1.0)),
    Mutation("all layers N(0, 0.001), no normalization", TOO_SMALL, everywhere("autoencoder", "nerf", "squeezenet"), _redrawn(0.001)),
    Mutation("output layer × 100", ("confident-output-init",), HEADS, _weight(lambda weight: 100 * weight)),
    Mutation("output layer × 1000", ("confident-output-init",), {
        "lstm_language_model": "decoder", "gru_seq2seq": "out", "tcn": "head", "vgg_bn": "classifier.6",
    }, _weight(lambda weight: 1000 * weight)),
    Mutation("bias −5 before ReLU", ("dead-by-bias", "unfireable-relu"), RECTIFIED, _bias(-5.0)),
    Mutation(
        "BatchNorm shift −5 before ReLU", ("dead-by-bias", "unfireable-relu"),
        {"resnet": "layers.3.bn1", "vgg_bn": "features.12", "unet": "middle.1", "preactivation_resnet": "2.bn2"}, _bias(-5.0),
    ),
    Mutation("tied embedding N(0, 1)", ("oversized-embedding", "confident-output-init"), {
        "gpt2_from_paper": "wte", "bert_mlm": "tokens", "mamba_scan": "embedding",
    }, _weight(torch.randn_like)),
    Mutation("forget-gate bias −2", ("forget-gate-bias",), {"lstm_language_model": "lstm1"}, _forget),
    Mutation(
        "one layer fresh amid trained ones", ("partly-loaded-checkpoint",), _only(HIDDEN, *TRAINED), _fresh_again, is_trained=True,
    ),
    Mutation(
        "BatchNorm statistics untouched beside trained weights", ("untouched-running-statistics",),
        everywhere("preactivation_resnet", "densenet"), _untouched_statistics, is_trained=True, form="inference",
    ),
    Mutation(
        "half the BatchNorm scales zero in a trained network", ("collapsed-channels",),
        {"resnet": "layers.3.bn1", "vgg_bn": "features.12"}, _collapsed, is_trained=True,
    ),
)  # fmt: skip
