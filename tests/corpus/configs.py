"""Transformers configurations, small and with their own random initialization (nothing is downloaded). Needs torch and transformers.

A row is a model class, a configuration class and what makes it small; `CONFIGS` turns it into a factory of (module, example inputs).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

Built = tuple[nn.Module, tuple[Tensor, ...]]


class OneTensor(nn.Module):
    """A Hugging Face model seen as a function of its first input that returns its first output."""

    def __init__(self, model: nn.Module, argument: str, fixed: Mapping[str, Any]) -> None:
        super().__init__()
        self.model, self.argument, self.fixed = model, argument, dict(fixed)

    def forward(self, x: Tensor) -> Tensor:
        # an explicit mask keeps the models from looking for packed sequences, which the TorchScript exporter cannot write
        mask = {"attention_mask": torch.ones_like(x)} if self.argument == "input_ids" else {}
        return self.model(**{self.argument: x}, **mask, **self.fixed, return_dict=False)[0]


class EncoderDecoder(nn.Module):
    """A Hugging Face encoder-decoder as a function of its two sequences of tokens."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, target: Tensor) -> Tensor:
        mask = torch.ones_like(ids)
        return self.model(
            input_ids=ids, attention_mask=mask, decoder_input_ids=target, use_cache=False, return_dict=False
        )[0]


_TEXT: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128,
}  # fmt: skip
_SHORT: dict[str, Any] = {**_TEXT, "max_position_embeddings": 64}
_GROUPED: dict[str, Any] = {**_SHORT, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_GPT2: dict[str, Any] = {"vocab_size": 300, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 64}
_PAIR: dict[str, Any] = {
    "vocab_size": 300, "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "max_position_embeddings": 64,
}  # fmt: skip
_T5: dict[str, Any] = {"vocab_size": 300, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
_PATCHES: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128, "image_size": 32,
    "patch_size": 8, "num_labels": 10,
}  # fmt: skip

_TEXT_MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertForSequenceClassification", "BertConfig", {**_TEXT, "num_labels": 5}),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", _SHORT),
    "distilbert": (
        "DistilBertForSequenceClassification", "DistilBertConfig",
        {"vocab_size": 300, "dim": 64, "n_layers": 3, "n_heads": 4, "hidden_dim": 128, "num_labels": 5},
    ),
    "albert": ("AlbertForMaskedLM", "AlbertConfig", {**_TEXT, "embedding_size": 32}),
    "electra": ("ElectraForPreTraining", "ElectraConfig", {**_TEXT, "embedding_size": 32}),
    "xlm_roberta": ("XLMRobertaForTokenClassification", "XLMRobertaConfig", {**_SHORT, "num_labels": 7}),
    "camembert": ("CamembertForQuestionAnswering", "CamembertConfig", _SHORT),
    "mpnet": ("MPNetForMaskedLM", "MPNetConfig", _SHORT),
    "convbert": ("ConvBertForMaskedLM", "ConvBertConfig", {**_TEXT, "embedding_size": 64}),
    "squeezebert": ("SqueezeBertForMaskedLM", "SqueezeBertConfig", {**_TEXT, "embedding_size": 64}),
    "mobilebert": (
        "MobileBertForMaskedLM", "MobileBertConfig",
        {**_TEXT, "embedding_size": 32, "intra_bottleneck_size": 32, "true_hidden_size": 32},
    ),
    "deberta_v2": ("DebertaV2ForMaskedLM", "DebertaV2Config", {**_SHORT, "relative_attention": True}),
    "roformer": ("RoFormerForMaskedLM", "RoFormerConfig", {**_SHORT, "embedding_size": 64}),
    "rembert": ("RemBertForMaskedLM", "RemBertConfig", {**_SHORT, "input_embedding_size": 32, "output_embedding_size": 64}),
    "ernie": ("ErnieForMaskedLM", "ErnieConfig", _SHORT),
    "esm": ("EsmForMaskedLM", "EsmConfig", {**_SHORT, "pad_token_id": 1, "mask_token_id": 2}),
    "data2vec_text": ("Data2VecTextForMaskedLM", "Data2VecTextConfig", _SHORT),
    "modernbert": ("ModernBertForMaskedLM", "ModernBertConfig", {**_SHORT, "pad_token_id": 0}),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", _GPT2),
    "gpt_neo": (
        "GPTNeoForCausalLM", "GPTNeoConfig",
        {
            "vocab_size": 300, "hidden_size": 64, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 64,
            "attention_types": [[["global", "local"], 1]], "window_size": 16,
        },
    ),
    "gptj": ("GPTJForCausalLM", "GPTJConfig", {**_GPT2, "rotary_dim": 8}),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", _SHORT),
    "codegen": ("CodeGenForCausalLM", "CodeGenConfig", {**_GPT2, "rotary_dim": 8}),
    "bloom": ("BloomForCausalLM", "BloomConfig", {"vocab_size": 300, "hidden_size": 64, "n_layer": 3, "n_head": 4}),
    "falcon": ("FalconForCausalLM", "FalconConfig", _SHORT),
    "llama": ("LlamaForCausalLM", "LlamaConfig", _GROUPED),
    "mistral": ("MistralForCausalLM", "MistralConfig", _GROUPED),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", _GROUPED),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**_GROUPED, "head_dim": 16}),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", {**_GROUPED, "head_dim": 16}),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", {**_GROUPED, "head_dim": 16}),
    "phi": ("PhiForCausalLM", "PhiConfig", _GROUPED),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", _GROUPED),
    "stablelm": ("StableLmForCausalLM", "StableLmConfig", _GROUPED),
    "olmo": ("OlmoForCausalLM", "OlmoConfig", _GROUPED),
    "olmo2": ("Olmo2ForCausalLM", "Olmo2Config", _GROUPED),
    "granite": ("GraniteForCausalLM", "GraniteConfig", _GROUPED),
    "cohere": ("CohereForCausalLM", "CohereConfig", _GROUPED),
    "starcoder2": ("Starcoder2ForCausalLM", "Starcoder2Config", _GROUPED),
    "persimmon": ("PersimmonForCausalLM", "PersimmonConfig", _GROUPED),
    "nemotron": ("NemotronForCausalLM", "NemotronConfig", _GROUPED),
    "glm": ("GlmForCausalLM", "GlmConfig", {**_GROUPED, "head_dim": 16}),
    "opt": (
        "OPTForCausalLM", "OPTConfig",
        {**_TEXT, "ffn_dim": 128, "max_position_embeddings": 64, "word_embed_proj_dim": 64},
    ),
    "xglm": (
        "XGLMForCausalLM", "XGLMConfig",
        {"vocab_size": 300, "d_model": 64, "num_layers": 3, "attention_heads": 4, "ffn_dim": 128, "max_position_embeddings": 64},
    ),
    "biogpt": ("BioGptForCausalLM", "BioGptConfig", _SHORT),
    "mamba": (
        "MambaForCausalLM", "MambaConfig", {"vocab_size": 300, "hidden_size": 64, "state_size": 4, "num_hidden_layers": 2},
    ),
    "t5_encoder": ("T5EncoderModel", "T5Config", {**_T5, "num_layers": 3}),
}  # fmt: skip

_PAIR_MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bart": ("BartForConditionalGeneration", "BartConfig", _PAIR),
    "pegasus": ("PegasusForConditionalGeneration", "PegasusConfig", _PAIR),
    "marian": ("MarianMTModel", "MarianConfig", {**_PAIR, "pad_token_id": 0, "decoder_start_token_id": 0}),
    "blenderbot": ("BlenderbotForConditionalGeneration", "BlenderbotConfig", _PAIR),
    "t5_pair": ("T5ForConditionalGeneration", "T5Config", _T5),
    "mt5": ("MT5ForConditionalGeneration", "MT5Config", _T5),
}

_IMAGE_MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "hf_vit": ("ViTForImageClassification", "ViTConfig", _PATCHES),
    "deit": ("DeiTForImageClassification", "DeiTConfig", _PATCHES),
    "dinov2": ("Dinov2ForImageClassification", "Dinov2Config", {**_PATCHES, "mlp_ratio": 2}),
    "beit": ("BeitForImageClassification", "BeitConfig", {**_PATCHES, "use_relative_position_bias": True}),
    "yolos": ("YolosModel", "YolosConfig", {**_PATCHES, "image_size": [32, 32], "num_detection_tokens": 5}),
    "swin": (
        "SwinForImageClassification", "SwinConfig",
        {"image_size": 32, "patch_size": 4, "embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
    ),
    "hf_resnet": (
        "ResNetForImageClassification", "ResNetConfig",
        {"embedding_size": 16, "hidden_sizes": [32, 64, 64], "depths": [2, 2, 2], "num_labels": 10},
    ),
    "hf_convnext": (
        "ConvNextForImageClassification", "ConvNextConfig", {"hidden_sizes": [32, 64, 64], "depths": [2, 2, 2], "num_stages": 3},
    ),
    "convnextv2": (
        "ConvNextV2ForImageClassification", "ConvNextV2Config",
        {"hidden_sizes": [32, 64, 64], "depths": [2, 2, 2], "num_stages": 3},
    ),
    "regnet": (
        "RegNetForImageClassification", "RegNetConfig",
        {"embedding_size": 16, "hidden_sizes": [32, 64], "depths": [2, 2], "groups_width": 16, "num_labels": 10},
    ),
    "bit": ("BitForImageClassification", "BitConfig", {"embedding_size": 32, "hidden_sizes": [64, 128], "depths": [2, 2], "num_groups": 8}),
    "poolformer": (
        "PoolFormerForImageClassification", "PoolFormerConfig",
        {
            "hidden_sizes": [32, 64], "depths": [2, 2], "patch_sizes": [7, 3], "strides": [4, 2], "padding": [2, 1],
            "num_encoder_blocks": 2,
        },
    ),
    "segformer": (
        "SegformerForSemanticSegmentation", "SegformerConfig",
        {
            "num_encoder_blocks": 2, "depths": [2, 2], "hidden_sizes": [32, 64], "num_attention_heads": [1, 2],
            "sr_ratios": [4, 2], "patch_sizes": [7, 3], "strides": [4, 2], "mlp_ratios": [2, 2], "decoder_hidden_size": 64,
        },
    ),
    "hf_mobilenet_v1": ("MobileNetV1ForImageClassification", "MobileNetV1Config", {"depth_multiplier": 0.25}),
    "hf_mobilenet_v2": ("MobileNetV2ForImageClassification", "MobileNetV2Config", {"depth_multiplier": 0.35}),
}  # fmt: skip


_SIDE = {"MobileNetV1ForImageClassification": 96, "MobileNetV2ForImageClassification": 96}
"""Pixels, where five halvings would leave a single one."""


def _built(kind: str, model_class: str, config_class: str, changes: Mapping[str, Any]) -> Built:
    import transformers

    transformers.logging.set_verbosity_error()  # the tokens of the large vocabularies are not there
    config = getattr(transformers, config_class)(**changes)
    config._attn_implementation = "eager"
    model = getattr(transformers, model_class)(config)
    if kind == "pair":
        return EncoderDecoder(model), (torch.randint(5, 300, (2, 10)), torch.randint(5, 300, (2, 7)))
    if kind == "image":
        return OneTensor(model, "pixel_values", {}), (
            torch.randn(2, 3, _SIDE.get(model_class, 32), _SIDE.get(model_class, 32)),
        )
    return OneTensor(model, "input_ids", {"use_cache": False} if hasattr(config, "use_cache") else {}), (
        torch.randint(5, 300, (2, 10)),
    )


CONFIGS: dict[str, Callable[[], Built]] = {
    name: partial(_built, kind, *row)
    for kind, table in (("text", _TEXT_MODELS), ("pair", _PAIR_MODELS), ("image", _IMAGE_MODELS))
    for name, row in table.items()
}
