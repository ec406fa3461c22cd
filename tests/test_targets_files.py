"""Files of weights and programs, and folders of transformers models: what is audited, and that nothing in a file is ever run."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from torch import nn

from trainaudit.cli import main
from trainaudit.errors import TrainauditError
from trainaudit.load.torch.checkpoint import read_checkpoint
from trainaudit.load.torch.program_file import _is_plain, load_program_file


class Canary:
    """A pickle of it makes the file `path` when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def audited(target: str, *arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(main, [target, "--isolated", "--output-format", "json", "--exit-zero", *arguments])
    assert result.exit_code == 0, result.output
    (audit,) = json.loads(result.stdout)["audits"]
    return dict(audit)


def refused(target: str) -> str:
    result = CliRunner().invoke(main, [target, "--isolated"])
    assert result.exit_code == 2, result.output
    said = " ".join(result.output.split())
    assert "Traceback" not in said
    return said


# --- weights of torch.save -----------------------------------------------------------------------------------------------

SAVES: dict[str, Callable[[nn.Module], Any]] = {
    "itself": lambda model: model.state_dict(),
    "state_dict": lambda model: {"epoch": 3, "state_dict": model.state_dict()},
    "model": lambda model: {
        "model": model.state_dict(),
        "optimizer": torch.optim.Adam(model.parameters()).state_dict(),
    },
    "model.module": lambda model: {"model": {"module": model.state_dict()}},
    "parts": lambda model: {"generator": model.state_dict(), "optim_g": {"a": torch.zeros(2)}},
}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
@pytest.mark.parametrize("form", SAVES)
def test_state_dicts_are_found(form: str, suffix: str) -> None:
    torch.save(SAVES[form](network()), f"w{suffix}")
    audit = audited(f"w{suffix}")
    assert audit["model"]["capture"].startswith("weights alone")
    assert audit["model"]["parameter_count"] == 8 * 27 + 8 + 16 + 4 * 288 + 4
    assert [row["op"] for row in audit["layers"]] == ["conv", "batch_norm", "linear"]
    home = audit["warnings"][:1] if form not in ("itself", "parts") else []
    assert [f"The weights were taken from the entry {form} of the file."] * bool(home) == home


def test_old_files_are_read_too() -> None:
    torch.save(network().state_dict(), "old.pt", _use_new_zipfile_serialization=False)
    assert len(audited("old.pt")["layers"]) == 3


def test_tied_weights_count_once() -> None:
    head = nn.Linear(8, 50, bias=False)
    table = nn.Embedding(50, 8)
    head.weight = table.weight
    torch.save(nn.ModuleDict({"emb": table, "head": head}).state_dict(), "tied.pt")
    assert audited("tied.pt")["model"]["parameter_count"] == 400


def test_rules_on_weights_run_on_weights_alone() -> None:
    model = network()
    nn.init.constant_(model[0].weight, 0.1)  # type: ignore[arg-type]
    model[4].weight.data[0, 0] = float("nan")  # type: ignore[index,operator,union-attr]
    torch.save(model.state_dict(), "w.pt")
    found = {finding["rule"]: finding for finding in audited("w.pt")["findings"]}
    assert {"symmetric-init", "non-finite-weights"} <= set(found)
    assert found["symmetric-init"]["occurrences"][0]["subject"] == "0.weight"


def test_a_pickled_module_is_refused_with_the_way_to_convert_it() -> None:
    torch.save(network(), "whole.pt")
    said = refused("whole.pt")
    assert "whole.pt: holds a pickled torch.nn.modules.container.Sequential, not weights alone" in said
    assert "torch.save(model.state_dict(), 'weights.pt')" in said
    assert "torch.export.save(torch.export.export(model, inputs), 'model.pt2')" in said


@pytest.mark.parametrize("form", ["zip", "old", "pickle", "nested"])
def test_nothing_in_a_pickle_runs(form: str, work: Path) -> None:
    canary = work / "sung"
    if form == "pickle":
        Path("evil.pt").write_bytes(pickle.dumps(Canary(canary)))
    else:
        content = {"a": {"state_dict": Canary(canary)}} if form == "nested" else Canary(canary)
        torch.save(content, "evil.pt", _use_new_zipfile_serialization=form != "old")
    assert "not weights alone" in refused("evil.pt")
    assert not canary.exists()
    if form == "pickle":  # the canary can sing
        pickle.loads(Path("evil.pt").read_bytes())
        assert canary.exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused() -> None:
    torch.jit.script(nn.Linear(3, 4)).save("s.pt")
    assert "s.pt: is a TorchScript archive, which holds code." in refused("s.pt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"hello", "does not start like a PyTorch file"),
        (b"PK\x03\x04" + b"\0" * 50, "its archive cannot be read"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a git-LFS pointer"),
        (b"\x80\x02K\x03.", "is damaged: torch cannot read it"),
    ],
)
def test_what_holds_no_weights_gets_one_sentence(content: bytes, words: str) -> None:
    Path("w.pt").write_bytes(content)
    assert words in refused("w.pt")


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({}, "its entries: none"),
        ({"epoch": 3, "lr": 0.1}, "its entries: epoch, lr"),
        ([torch.zeros(2)], "it holds a list"),
    ],
)
def test_a_file_without_a_state_dict_says_what_it_holds(held: object, words: str) -> None:
    torch.save(held, "w.pt")
    assert f"w.pt: holds no weights ({words})." in refused("w.pt")


def test_archives_that_torch_did_not_write_are_refused() -> None:
    torch.save(network().state_dict(), "w.pt")
    with zipfile.ZipFile("w.pt") as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile("packed.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    assert "its archive is compressed" in refused("packed.pt")
    with zipfile.ZipFile("twice.pt", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in [*entries.items(), *entries.items()]:
            archive.writestr(name, content)
    assert "holds an entry twice" in refused("twice.pt")


def test_a_tensor_cannot_claim_more_than_is_stored() -> None:
    torch.save({"w": torch.zeros(1).expand(1 << 40)}, "w.pt")
    assert "w claims more values than the file stores" in refused("w.pt")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_change_of_a_file_does_more_than_refuse(data: st.DataObject, work: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"fc.weight": torch.ones(3, 4), "fc.bias": torch.zeros(3)}, buffer)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[at] = data.draw(st.integers(0, 255))
        else:
            del content[at : at + data.draw(st.integers(1, 400))]
        content = content or bytearray(b"\0")
    path = work / "fuzzed.pt"
    path.write_bytes(bytes(content))
    try:
        weights, _ = read_checkpoint(str(path))
    except TrainauditError as error:
        message = str(error)
    else:
        message = ""
        for tensor in weights.tensors.values():
            assert tensor.read().shape == tensor.shape
    assert "\n" not in message


# --- exported programs ---------------------------------------------------------------------------------------------------


def exported(path: str, model: nn.Module | None = None) -> str:
    program = torch.export.export(model or network(), (torch.randn(2, 3, 8, 8),))
    torch.export.save(program, path)
    return path


def rewritten(path: str, change: Callable[[str, bytes], bytes], *extra: tuple[str, bytes]) -> str:
    """The archive with its entries changed, as torch writes it."""
    with zipfile.ZipFile(path) as archive:
        entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
    top = entries[0][0].partition("/")[0]
    writer = torch._C.PyTorchFileWriter(f"{top}.pt2")
    for name, content in [*entries, *[(f"{top}/{name}", content) for name, content in extra]]:
        inner = name.partition("/")[2]
        if inner not in (".data/version", "version", ".data/serialization_id", "byteorder"):
            changed = change(inner, content)
            writer.write_record(inner, changed, len(changed))
    writer.write_end_of_file()
    return f"{top}.pt2"


def test_an_exported_program_is_audited() -> None:
    audit = audited(exported("m.pt2"))
    assert audit["model"]["format"] == "pt2"
    assert audit["model"]["capture"] == "the graph of an exported program, in the mode it was exported in"
    assert len(audit["model"]["sha256"]) == 64
    assert {"conv", "batch_norm", "relu", "linear"} <= {row["op"] for row in audit["layers"]}


def test_sizes_that_were_left_open_are_read() -> None:
    sizes = ({0: torch.export.Dim("batch", min=2, max=64)},)
    torch.export.save(torch.export.export(network(), (torch.randn(4, 3, 8, 8),), dynamic_shapes=sizes), "m.pt2")
    assert audited("m.pt2")["model"]["parameter_count"] > 0


def test_the_same_archive_written_anew_is_audited() -> None:
    """So that the refusals below are of what was changed, not of the writing."""
    assert load_program_file(rewritten(exported("m.pt2"), lambda _name, content: content)) is not None


@pytest.mark.parametrize(
    ("find", "put", "words"),
    [
        (b"torch.ops.aten.relu.default", b"torch.hub.load", "a call of torch.hub.load"),
        (b"torch.ops.aten.relu.default", b"torch.serialization.os.system", "a call of torch.serialization.os.system"),
        (b'"use_pickle": false', b'"use_pickle": true ', "a pickled tensor"),
        (b"builtins.dict", b"collections.defaultdict", "inputs or outputs of the type collections.defaultdict"),
    ],
)
def test_a_program_that_could_run_code_is_refused(find: bytes, put: bytes, words: str) -> None:
    counted = []

    def change(name: str, content: bytes) -> bytes:
        if name.endswith(".json"):
            counted.append(content.count(find))
            return content.replace(find, put)
        return content

    path = rewritten(exported("m.pt2"), change)
    assert sum(counted)
    said = refused(path)
    assert f"holds {words}, which could run code when it is opened, so it is not." in said


def test_a_size_that_is_code_is_refused(work: Path) -> None:
    sizes = ({0: torch.export.Dim("batch", min=2, max=64)},)
    torch.export.save(torch.export.export(network(), (torch.randn(4, 3, 8, 8),), dynamic_shapes=sizes), "m.pt2")
    code = b"__import__('os').mkdir('sung')"

    def change(name: str, content: bytes) -> bytes:
        return re.sub(rb"Symbol\('s\d+'[^\"]*", code, content) if name.startswith("models/") else content

    assert "holds a size that is no plain expression" in refused(rewritten("m.pt2", change))
    assert not (work / "sung").exists()


def test_compiled_code_in_a_program_is_refused() -> None:
    path = rewritten(exported("m.pt2"), lambda _name, content: content, ("data/aotinductor/model/x.so", b"\x7fELF"))
    assert "holds compiled code" in refused(path)


def test_pickles_in_a_program_do_not_run(work: Path) -> None:
    canary = work / "sung"
    buffer = io.BytesIO()
    torch.save((Canary(canary),), buffer)

    def change(name: str, content: bytes) -> bytes:
        return buffer.getvalue() if "sample_inputs" in name else content

    path = rewritten(exported("m.pt2"), change)
    assert "holds a pickled object" in refused(path)
    assert not canary.exists()
    assert torch.load is not None
    buffer.seek(0)
    torch.load(buffer, weights_only=False)  # the canary can sing, and loading is as before
    assert canary.exists()


@pytest.mark.parametrize(
    "text",
    [
        "s0",
        "2*s0 + 1",
        "Symbol('s31', positive=True, integer=True)",
        "Max(1, s0//2)",
        "Mul(Integer(4), Symbol('u1'))",
        "s0**2",
        "FloorDiv(s0, 2)",
    ],
)
def test_expressions_of_sizes_are_plain(text: str) -> None:
    assert _is_plain(text)


@pytest.mark.parametrize(
    "text",
    ["__import__('os').system('true')", "open('x')", "s0.__class__", "exec", "9**9**9", "Pow(9, 999999999)", "Symbol('os')", "s0 if s1 else s2", "lambda: s0",
     "2**(2**s0)", "x", "", "s0;s1", "[s0]", "'s0'", "1" * 30],
)  # fmt: skip
def test_expressions_that_do_more_are_not(text: str) -> None:
    assert not _is_plain(text)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + b"\0" * 50])
def test_what_is_no_program_gets_one_sentence(content: bytes) -> None:
    Path("m.pt2").write_bytes(content)
    assert any(word in refused("m.pt2") for word in ("is empty", "does not start like", "cannot be read"))


def test_weights_with_the_wrong_suffix_are_told_apart() -> None:
    torch.save(network().state_dict(), "w.pt2")
    assert "w.pt2: is no program that torch.export.save writes today." in refused("w.pt2")
    Path(exported("m.pt2")).rename("p.pt")
    assert "p.pt: is an exported program. Give it the suffix .pt2." in refused("p.pt")


# --- folders of transformers ---------------------------------------------------------------------------------------------


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
