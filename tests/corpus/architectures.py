"""The healthy published architectures by name: each makes a (module, example inputs) pair at its own published initialization. Needs torch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from tests.corpus import attention, convolutional, generative, modern_attention, modern_convolutional, other, sequence

Built = tuple[nn.Module, tuple[Tensor, ...]]

ARCHITECTURES: dict[str, Callable[[], Built]] = {
    function.__name__: function
    for function in (
        convolutional.resnet, convolutional.preactivation_resnet, convolutional.vgg_bn, convolutional.densenet,
        convolutional.squeezenet, modern_convolutional.mobilenet_v2, modern_convolutional.efficientnet, modern_convolutional.convnext,
        attention.vit, attention.mixer, attention.bert_mlm, attention.gpt2_from_paper, attention.gpt2_with_lora,
        modern_attention.llama_from_paper, modern_attention.t5, modern_attention.dit,
        sequence.lstm_language_model, sequence.gru_seq2seq, sequence.wavenet, sequence.mamba_scan, sequence.tcn,
        generative.unet, generative.dcgan_generator, generative.dcgan_discriminator, generative.vae, generative.autoencoder,
        generative.diffusion_unet, other.siamese, other.gcn, other.dlrm, other.nerf, other.siren, other.two_tower,
        other.self_normalizing,
    )
}  # fmt: skip
