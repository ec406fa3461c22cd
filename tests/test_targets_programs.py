"""Exported programs: what is audited, and that nothing in a file is ever run."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from torch import nn

from tests.target_runs import Canary, audited, refused
from trainaudit.errors import TrainauditError
from trainaudit.load.torch.program_file import _is_plain, load_program_file


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_change_of_a_program_does_more_than_refuse(data: st.DataObject, work: Path) -> None:
    if not Path("whole.pt2").exists():
        torch.export.save(torch.export.export(nn.Linear(3, 2), (torch.zeros(2, 3),)), "whole.pt2")
    content = bytearray(Path("whole.pt2").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    Path("fuzzed.pt2").write_bytes(bytes(content))
    message = ""
    try:
        program = load_program_file("fuzzed.pt2")
    except TrainauditError as error:
        message = str(error)
    else:
        assert sum(tensor.numel() for tensor in program.state_dict.values()) <= len(content)
    assert "\n" not in message
