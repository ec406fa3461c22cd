"""Twelve transformers configurations, small and with random weights (nothing is downloaded). Needs torch and transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Built = tuple[nn.Module, tuple[Tensor, ...]]


class OneTensor(nn.Module):
    """A Hugging Face model seen as a function of its first input that returns its first output."""

    def __init__(self, model: nn.Module, argument: str, **fixed: Any) -> None:
        super().__init__()
        self.model, self.argument, self.fixed = model, argument, fixed

    def forward(self, x: Tensor) -> Tensor:
        # an explicit mask keeps the models from looking for packed sequences, which the TorchScript exporter cannot write
        mask = {"attention_mask": torch.ones_like(x)} if self.argument == "input_ids" else {}
        return self.model(**{self.argument: x}, **mask, **self.fixed, return_dict=False)[0]


_TEXT: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128,
}  # fmt: skip


def _text(model_class: str, config_class: str, **changes: Any) -> Built:
    import transformers

    config = getattr(transformers, config_class)(**{**_TEXT, **changes})
    config._attn_implementation = "eager"
    model = getattr(transformers, model_class)(config)
    return OneTensor(model, "input_ids", **({"use_cache": False} if hasattr(config, "use_cache") else {})), (
        torch.randint(5, 300, (2, 10)),
    )


def _image(model_class: str, config_class: str, **changes: Any) -> Built:
    import transformers

    config = getattr(transformers, config_class)(**changes)
    config._attn_implementation = "eager"
    model = getattr(transformers, model_class)(config)
    return OneTensor(model, "pixel_values"), (torch.randn(2, 3, 32, 32),)


def bert() -> Built:
    return _text("BertForSequenceClassification", "BertConfig", num_labels=5)


def roberta() -> Built:
    return _text("RobertaForMaskedLM", "RobertaConfig", max_position_embeddings=64)


def distilbert() -> Built:
    return _text(
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        dim=64,
        n_layers=3,
        n_heads=4,
        hidden_dim=128,
        num_labels=5,
    )


def albert() -> Built:
    return _text("AlbertForMaskedLM", "AlbertConfig", embedding_size=32)


def electra() -> Built:
    return _text("ElectraForPreTraining", "ElectraConfig", embedding_size=32)


def gpt2() -> Built:
    return _text("GPT2LMHeadModel", "GPT2Config", n_embd=64, n_layer=3, n_head=4, n_positions=64)


def llama() -> Built:
    return _text("LlamaForCausalLM", "LlamaConfig", num_key_value_heads=2, max_position_embeddings=64)


def qwen2() -> Built:
    return _text("Qwen2ForCausalLM", "Qwen2Config", num_key_value_heads=2, max_position_embeddings=64)


def opt() -> Built:
    return _text("OPTForCausalLM", "OPTConfig", ffn_dim=128, max_position_embeddings=64, word_embed_proj_dim=64)


def t5_encoder() -> Built:
    return _text("T5EncoderModel", "T5Config", d_model=64, d_kv=16, d_ff=128, num_layers=3, num_heads=4)


def hf_vit() -> Built:
    return _image(
        "ViTForImageClassification", "ViTConfig", hidden_size=64, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=128, image_size=32, patch_size=8, num_labels=10,
    )  # fmt: skip


def hf_resnet() -> Built:
    return _image(
        "ResNetForImageClassification",
        "ResNetConfig",
        embedding_size=16,
        hidden_sizes=[32, 64, 64],
        depths=[2, 2, 2],
        num_labels=10,
    )


CONFIGS: dict[str, Callable[[], Built]] = {
    function.__name__: function
    for function in (bert, roberta, distilbert, albert, electra, gpt2, llama, qwen2, opt, t5_encoder, hf_vit, hf_resnet)
}
