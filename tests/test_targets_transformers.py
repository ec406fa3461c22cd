"""Folders of transformers models: what is audited, and that nothing in them is ever run or downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from tests.target_runs import Canary, audited, refused


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bert() -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50,
        max_position_embeddings=32, architectures=["BertForMaskedLM"],
    )  # fmt: skip


@pytest.mark.parametrize("spelling", ["hf:bert", "bert", "./bert"])
def test_a_configuration_is_initialized(spelling: str, bert: Any) -> None:
    bert.save_pretrained("bert")
    audit = audited(spelling)
    assert audit["target"] == spelling
    assert audit["model"]["weights_state"] == "fresh"
    assert audit["model"]["inputs"] == ["input_ids: int64[batch, 16]"]
    assert (
        "There are no weights in the folder: the model was initialized as its architecture does it."
        in audit["warnings"]
    )
    assert any(
        row["name"] == "cls.predictions.transform.dense" for row in audit["layers"]
    )  # the architecture that is named


def test_a_language_model_is_captured_as_it_trains() -> None:
    """Without the keys and values that it keeps for the next token."""
    import trainaudit

    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, intermediate_size=64, vocab_size=50
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    found = trainaudit.audit(model, {"input_ids": torch.ones(2, 8, dtype=torch.int64)})
    assert found.model.capture == "captured with torch.export in training mode"
    assert model.config.use_cache is True


def test_weights_beside_a_configuration_are_read(bert: Any, capfd: pytest.CaptureFixture[str]) -> None:
    import transformers

    model = transformers.BertForMaskedLM(bert)
    nn.init.constant_(model.bert.encoder.layer[0].intermediate.dense.weight, 0.1)
    model.save_pretrained("bert")
    capfd.readouterr()
    for target in ("hf:bert", "bert/model.safetensors"):
        found = audited(target)
        assert "symmetric-init" in {finding["rule"] for finding in found["findings"]}
        assert found["model"]["capture"] == "captured with torch.export in training mode"
    assert "Loading" not in capfd.readouterr().err


def test_shards_without_a_configuration_are_weights_alone() -> None:
    reference = pytest.importorskip("safetensors.torch")
    state = network().state_dict()
    halves = {"model-1.safetensors": list(state)[:4], "model-2.safetensors": list(state)[4:]}
    for name, keys in halves.items():
        reference.save_file({key: state[key] for key in keys}, name)
    weights = {key: name for name, keys in halves.items() for key in keys}
    Path("model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    assert len(audited("model.safetensors.index.json")["layers"]) == 3


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("[]", "is not a JSON object"),
        ("{", "is not a JSON object"),
        ("{}", "has no model_type"),
        ('{"model_type": "no-such-model"}', "cannot make a model of"),
        ('{"model_type": "bert", "transformers_weights": "../x.safetensors"}', "which could lie anywhere"),
        ('{"model_type": "bert", "hidden_size": 7, "num_attention_heads": 2}', "cannot make a model of"),
    ],
)
def test_a_configuration_that_is_none_gets_one_sentence(config: str, words: str) -> None:
    pytest.importorskip("transformers")
    Path("conf").mkdir()
    Path("conf/config.json").write_text(config)
    assert words in refused("hf:conf")


def test_code_that_lies_beside_a_configuration_is_not_run(work: Path) -> None:
    pytest.importorskip("transformers")
    Path("conf").mkdir()
    Path("conf/config.json").write_text(
        json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}})
    )
    Path("conf/mine.py").write_text("import pathlib; pathlib.Path('sung').touch()\n")
    refused("hf:conf")
    assert not (work / "sung").exists()


def test_a_pickle_beside_a_configuration_is_not_run(work: Path, bert: Any) -> None:
    bert.save_pretrained("bert")
    torch.save({"a": Canary(work / "sung")}, "bert/pytorch_model.bin")
    assert "not weights alone" in refused("hf:bert")
    assert not (work / "sung").exists()


def test_a_folder_without_a_configuration_says_what_to_name() -> None:
    Path("conf").mkdir()
    assert "There is no conf/config.json." in refused("hf:conf")


def test_nothing_is_downloaded(bert: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert "There is no bert-base-uncased/config.json" in refused("hf:bert-base-uncased")
    bert.save_pretrained("bert")
    audited("hf:bert")
