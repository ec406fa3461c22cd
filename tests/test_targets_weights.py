"""Weights of torch.save: what is audited, and that nothing in a file is ever run."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from torch import nn

from tests.target_runs import Canary, audited, refused
from trainaudit.errors import TrainauditError
from trainaudit.load.torch.checkpoint import read_checkpoint


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
