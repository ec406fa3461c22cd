"""What torch's two exporters really write becomes the layers that the module has."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from trainaudit.ir.graph import Graph
from trainaudit.ir.ops import Op
from trainaudit.ir.verify import verify
from trainaudit.load.from_onnx import load_onnx

torch = pytest.importorskip("torch")
nn = torch.nn

FORMS = ["script", "script-training", "dynamo", "dynamo-unoptimized"]


def exported(module: Any, arguments: tuple[Any, ...], form: str, folder: Path) -> Graph:
    path = str(folder / "model.onnx")
    module.train(form == "script-training")
    options: dict[str, Any] = {"dynamo": False}
    if form.startswith("dynamo"):
        pytest.importorskip("onnxscript")
        options = {"dynamo": True, "external_data": False, "verbose": False, "optimize": form == "dynamo"}
    elif form == "script-training":
        options |= {"training": torch.onnx.TrainingMode.TRAINING, "do_constant_folding": False}
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        torch.onnx.export(module, arguments, path, **options)
    graph = load_onnx(path)
    assert verify(graph) == ()
    assert graph.unrecognized == ()
    return graph


def kinds(graph: Graph, *wanted: Op) -> dict[str, int]:
    counts = Counter(layer.op for layer in graph.layers)
    return {op.value: counts[op] for op in wanted}


class Block(nn.Module):
    """A transformer block whose attention is written by hand, with a mask that hides the future."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(32)
        self.qkv = nn.Linear(32, 96)
        self.out = nn.Linear(32, 32)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))

    def forward(self, x: Any) -> Any:
        batch, time, width = x.shape
        q, k, v = (part.view(batch, time, 4, 8).transpose(1, 2) for part in self.qkv(self.norm(x)).split(32, dim=-1))
        mask = torch.full((time, time), -torch.inf).triu(1)
        weights = (q @ k.transpose(-2, -1) / math.sqrt(8) + mask).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(batch, time, width))
        return x + self.mlp(x)


@pytest.mark.parametrize("form", FORMS)
def test_transformer_block(form: str, tmp_path: Path) -> None:
    graph = exported(Block(), (torch.randn(2, 6, 32),), form, tmp_path)
    assert kinds(graph, Op.LINEAR, Op.LAYER_NORM, Op.GELU, Op.ATTENTION, Op.SOFTMAX, Op.MATMUL) == {
        "linear": 4, "layer_norm": 1, "gelu": 1, "attention": 1, "softmax": 0, "matmul": 0,
    }  # fmt: skip
    attention = next(layer for layer in graph.layers if layer.op is Op.ATTENTION)
    assert attention.attributes["scale"] == pytest.approx(8**-0.5)
    assert attention.attributes["head_dim"] == 8
    assert attention.attributes["is_causal"] is True
    shapes = sorted((graph.parameters[layer.parameters["weight"]].fan_in, layer.attributes["out_features"])
                    for layer in graph.layers if layer.op is Op.LINEAR)  # fmt: skip
    assert shapes == [(32, 32), (32, 64), (32, 96), (64, 32)]
    assert {"qkv", "out", "mlp.0", "mlp.2"} <= {layer.source.module for layer in graph.layers}
    if form.startswith("dynamo"):
        norm = next(layer for layer in graph.layers if layer.op is Op.LAYER_NORM)
        assert norm.source.file is not None
        assert norm.source.file.endswith("test_canonical_torch.py")
        assert norm.source.module_class == "torch.nn.modules.normalization.LayerNorm"


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8)
        self.head, self.drop = nn.Linear(8, 5), nn.Dropout(0.25)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = nn.functional.silu(self.bn2(self.conv2(x)))
        return self.head(self.drop(x.mean((2, 3))))


@pytest.mark.parametrize("form", FORMS)
def test_convolutions_with_batch_norm(form: str, tmp_path: Path) -> None:
    graph = exported(Convolutional(), (torch.randn(2, 3, 12, 12),), form, tmp_path)
    assert kinds(graph, Op.CONV, Op.RELU, Op.SILU, Op.LINEAR) == {"conv": 2, "relu": 1, "silu": 1, "linear": 1}
    convolutions = [layer for layer in graph.layers if layer.op is Op.CONV]
    assert [layer.name for layer in convolutions] == ["conv1", "conv2"]
    if form in ("script", "dynamo"):
        assert graph.folded_normalizations == ("conv1", "conv2")
        assert graph.folded_evidence == ("metadata" if form == "dynamo" else "weights")
        assert graph.form == "inference"
    else:
        assert kinds(graph, Op.BATCH_NORM) == {"batch_norm": 2}
        assert graph.folded_evidence == "none"
        assert "bias" not in convolutions[0].parameters
        assert graph.form == ("training" if form == "script-training" else "inference")
    assert kinds(graph, Op.DROPOUT) == {"dropout": int(form == "script-training")}


@pytest.mark.parametrize("form", ["script", "script-training", "dynamo"])
def test_recurrent_network(form: str, tmp_path: Path) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(20, 16)
            self.lstm = nn.LSTM(16, 24, bidirectional=True, batch_first=True)
            self.head = nn.Linear(48, 20)

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(self.embedding(x))[0])

    graph = exported(Recurrent(), (torch.randint(0, 20, (2, 7)),), form, tmp_path)
    assert kinds(graph, Op.EMBEDDING, Op.LSTM, Op.LINEAR) == {"embedding": 1, "lstm": 1, "linear": 1}
    lstm = next(layer for layer in graph.layers if layer.op is Op.LSTM)
    weight = graph.parameters[lstm.parameters["input_weight"]]
    assert (weight.shape, weight.fan_in, weight.gates) == ((2, 96, 16), 16, 4)
    assert lstm.attributes["hidden_size"] == 24
    assert graph.parameters[lstm.parameters["bias"]].data.read().shape == (2, 192)


@pytest.mark.parametrize("form", ["script", "dynamo"])
def test_layers_of_torchs_own_transformer(form: str, tmp_path: Path) -> None:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu")
    graph = exported(
        nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), (torch.randn(2, 5, 32),), form, tmp_path
    )
    assert kinds(graph, Op.ATTENTION, Op.LAYER_NORM, Op.GELU, Op.LINEAR) == {
        "attention": 2, "layer_norm": 4, "gelu": 2, "linear": 8,
    }  # fmt: skip
    assert all(
        item.attributes["scale"] == pytest.approx(8**-0.5) and item.attributes["head_dim"] == 8
        for item in graph.layers
        if item.op is Op.ATTENTION
    )


ACTIVATIONS = {
    "relu": "ReLU", "leaky_relu": "LeakyReLU", "relu6": "ReLU6", "elu": "ELU", "selu": "SELU", "celu": "CELU", "gelu": "GELU",
    "silu": "SiLU", "mish": "Mish", "hard_sigmoid": "Hardsigmoid", "hard_swish": "Hardswish", "tanh": "Tanh",
    "hard_tanh": "Hardtanh", "softplus": "Softplus", "softsign": "Softsign",
}  # fmt: skip


@pytest.mark.parametrize("form", ["script", "dynamo"])
def test_torchs_activation_functions(form: str, tmp_path: Path) -> None:
    class Activations(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.all = nn.ModuleList(getattr(nn, name)() for name in ACTIVATIONS.values())

        def forward(self, x: Any) -> Any:
            return tuple(activation(x) for activation in self.all)

    graph = exported(Activations(), (torch.randn(2, 8),), form, tmp_path)
    assert [graph.layers[graph.values[name].producer].op.value for name in graph.outputs] == list(ACTIVATIONS)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_a_language_model_of_transformers(implementation: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    configuration = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=32, use_cache=False, attn_implementation=implementation,
    )  # fmt: skip

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = transformers.LlamaForCausalLM(configuration)

        def forward(self, ids: Any) -> Any:
            return self.model(input_ids=ids).logits

    graph = exported(Logits(), (torch.randint(0, 64, (2, 9)),), "dynamo", tmp_path)
    assert kinds(graph, Op.EMBEDDING, Op.RMS_NORM, Op.ATTENTION, Op.SILU, Op.LINEAR, Op.SOFTMAX) == {
        "embedding": 1, "rms_norm": 5, "attention": 2, "silu": 2, "linear": 15, "softmax": 0,
    }  # fmt: skip
    attention = next(layer for layer in graph.layers if layer.op is Op.ATTENTION)
    assert attention.attributes["scale"] == pytest.approx(8**-0.5)
    assert attention.attributes["is_causal"] is True
    assert attention.attributes["mask_value"] < -1e30
