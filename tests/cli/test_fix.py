"""What a user of `trainaudit fix` types and sees."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from tests.fix.file.models import notes
from trainaudit.cli import main
from trainaudit.demo import build


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    build(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["fix", *arguments])


DECLARED = ("--loss", "cross-entropy")


def test_a_faulty_model_is_repaired(work: Path) -> None:
    before = (work / "faulty.onnx").read_bytes()
    result = run("faulty.onnx", "-o", "fixed.onnx", "--unsafe", *DECLARED)
    assert result.exit_code == 0, result.output
    assert "make  error[symmetric-init] classifier.fc1" in result.stdout
    assert "Audited again: 7 findings before, 1 after." in result.stdout
    assert "mended: " in result.stdout
    assert (work / "faulty.onnx").read_bytes() == before
    onnx.checker.check_model(str(work / "fixed.onnx"))
    audit = CliRunner().invoke(main, ["fixed.onnx", *DECLARED])
    assert audit.exit_code == 0
    assert any(
        note.startswith("initialize classifier.fc1.weight") and note.endswith("(symmetric-init)")
        for note in notes("fixed.onnx")
    )
    assert str(work) not in result.output + "".join(notes("fixed.onnx"))
    assert [path.name for path in work.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("more", [(), ("--unsafe",)])
def test_no_line_is_wider_than_the_terminal(
    work: Path, monkeypatch: pytest.MonkeyPatch, columns: int, more: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = run("faulty.onnx", "-o", "fixed.onnx", *more, *DECLARED).stdout.splitlines()
    assert max(map(len, lines)) <= columns
    assert "leave note[oversized-dense-head] classifier.fc1" in lines
    said = " ".join(" ".join(lines).split())
    assert "no machine can make it: Pool the feature map globally before the dense layer." in said
    assert "fixed.onnx: " in said
    assert "all else byte for byte as it was; its metadata say what was changed. Audited again: " in said


def test_a_number_says_what_it_is(work: Path) -> None:
    """The same words before it is made, in the file, and in the rule's text."""
    result = run("faulty.onnx", "-o", "fixed.onnx", *DECLARED)
    assert "initialize classifier.fc1.weight: kaiming_uniform, gain 1 (std 0 → " in result.stdout
    assert notes("fixed.onnx") == ["initialize classifier.fc1.weight: kaiming_uniform, gain 1, seed 0 (symmetric-init)"]
    explained = CliRunner().invoke(main, ["rule", "explain", "symmetric-init"]).stdout
    assert "kaiming_uniform, gain layer.wanted_gain" in explained


def test_without_leave_the_architecture_stays_and_something_is_left(work: Path) -> None:
    result = run("faulty.onnx", "-o", "fixed.onnx", *DECLARED)
    assert result.exit_code == 1
    assert "leave error[double-softmax]" in result.stdout
    assert "--unsafe admits that" in result.stdout
    old, new = (onnx.load(work / name).graph.node for name in ("faulty.onnx", "fixed.onnx"))
    assert [node.SerializeToString() for node in old] == [node.SerializeToString() for node in new]


def test_a_diff_writes_nothing(work: Path) -> None:
    result = run("faulty.onnx", "--diff", *DECLARED)
    assert result.exit_code == 1
    assert "std 0 → " in result.stdout
    assert "Nothing was written" in result.stdout
    assert sorted(path.name for path in work.iterdir()) == ["faulty.onnx", "repaired.onnx"]


def test_what_is_only_shown_still_stands(work: Path) -> None:
    """All of it would be mended, and nothing was."""
    assert run("faulty.onnx", "--diff", "--select", "symmetric-init", *DECLARED).exit_code == 1


def test_only_an_earlier_repair_is_written_over(work: Path) -> None:
    for _ in range(2):
        assert run("faulty.onnx", "-o", "fixed.onnx", "--unsafe", *DECLARED).exit_code == 0
    other = (work / "repaired.onnx").read_bytes()
    result = run("faulty.onnx", "-o", "repaired.onnx", "--unsafe", *DECLARED)
    assert result.exit_code == 2
    assert "is there already" in result.stderr
    assert (work / "repaired.onnx").read_bytes() == other


def test_selected_rules_alone(work: Path) -> None:
    result = run("faulty.onnx", "-o", "fixed.onnx", "--select", "symmetric-init", *DECLARED)
    assert result.exit_code == 0
    assert "1 finding\n" in result.stdout
    assert "Audited again: 1 finding before, 0 after." in result.stdout


def test_the_shell_completes_rules(work: Path) -> None:
    environment = {
        **os.environ,
        "_TRAINAUDIT_COMPLETE": "bash_complete",
        "COMP_WORDS": "trainaudit fix m.onnx --select symm",
        "COMP_CWORD": "4",
    }
    done = subprocess.run(
        [sys.executable, "-c", "from trainaudit.cli import main; main(prog_name='trainaudit')"], env=environment, capture_output=True, text=True
    )  # fmt: skip
    assert done.stdout.split(",")[-1].strip() == "symmetric-init"


def test_a_clean_model_needs_nothing(work: Path) -> None:
    result = run("repaired.onnx", "-o", "fixed.onnx", *DECLARED)
    assert result.exit_code == 0, result.output
    assert "there is nothing to make" in result.stdout
    assert not (work / "fixed.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("faulty.onnx",), "Name a new file with -o"),
        (("faulty.onnx", "-o", "faulty.onnx"), "stay as they are"),
        (("faulty.onnx", "-o", "missing/fixed.onnx"), "its folder does not exist"),
        (("faulty.onnx", "-o", "fixed.onnx", "--write"), "never written over"),
        (("faulty.onnx", "--diff", "--data", "x.npz"), "Add --prove"),
        (("missing.onnx", "--diff"), "missing.onnx"),
        (("text.onnx", "--diff"), "is not an ONNX model"),
        (("cut.onnx", "--diff"), "is cut off"),
        (("empty.onnx", "--diff"), "is empty"),
        (("weights.safetensors", "--diff"), "nothing else can be fixed"),
        (("*.onnx", "--diff"), "names"),
        (("faulty.onnx", "--diff", "--select", "no-such-rule"), "no-such-rule"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(work: Path, arguments: tuple[str, ...], words: str) -> None:
    (work / "text.onnx").write_text("hello, this is no model")
    (work / "empty.onnx").write_bytes(b"")
    (work / "cut.onnx").write_bytes((work / "faulty.onnx").read_bytes()[:5000])
    (work / "weights.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    names = {path.name for path in work.iterdir()}
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert {path.name for path in work.iterdir()} == names


def test_a_file_is_fixed_without_torch(work: Path) -> None:
    program = (
        "import sys\nfrom trainaudit.cli import main\n"
        "try:\n    main(['fix', 'faulty.onnx', '-o', 'fixed.onnx', '--unsafe', '--loss', 'cross-entropy'])\nexcept SystemExit as end:\n    print(end.code)\n"
        "print('LOADED', *sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'onnxruntime', 'libcst', 'transformers'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines()[-2:] == ["0", "LOADED"]


NET = """from collections import OrderedDict
import torch
import torch.nn as nn


def build_model(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(OrderedDict([
        ('fc1', nn.Linear(16, 32)),  # the first
        ('fc2', nn.Linear(32, 32)),
        ('act', nn.ReLU()),
        ('head', nn.Linear(32, 4)),
        ('out', nn.Softmax(dim=1)),
    ]))
    nn.init.constant_(model.fc2.weight, 0.01)
    return model
"""
CODE = ("net.py:build_model", "--input", "float32[8,16]", *DECLARED)


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("torch")
    pytest.importorskip("libcst")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def test_code_is_shown_as_a_diff_and_not_written(code: Path) -> None:
    result = run(*CODE, "--unsafe")
    assert "--- a/net.py" in result.stdout
    assert "-        ('out', nn.Softmax(dim=1))," in result.stdout
    assert "+    nn.init.kaiming_uniform_(model.fc2.weight" in result.stdout
    assert "--write changes the files" in result.stdout
    assert (code / "net.py").read_text() == NET


def test_code_is_written_and_then_clean(code: Path) -> None:
    result = run(*CODE, "--unsafe", "--write")
    assert "Wrote net.py." in result.stdout
    assert f"trainaudit {shlex.join(CODE)}" in result.stdout
    text = (code / "net.py").read_text()
    assert "# the first" in text
    assert "Softmax" not in text
    command = [sys.executable, "-m", "trainaudit", *CODE, "--output-format", "concise"]
    again = subprocess.run(
        command, capture_output=True, text=True, cwd=code, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    for rule in ("double-softmax", "symmetric-init", "linear-stack"):
        assert rule in result.stdout
        assert rule not in again.stdout


def test_what_is_not_certain_is_code_to_paste(code: Path) -> None:
    (code / "net.py").write_text(NET.replace("    return model\n", "    return model if seed == 0 else None\n"))
    result = run(*CODE, "--select", "symmetric-init")
    assert result.exit_code == 1
    assert "Code to paste:" in result.stdout
    assert "has no name" in result.stdout
    assert "Nothing was written" in result.stdout


def test_the_diff_goes_to_a_file(code: Path) -> None:
    run(*CODE, "--unsafe", "-o", "fix.patch")
    assert (code / "fix.patch").read_text().startswith("--- a/net.py\n+++ b/net.py\n")
    assert (code / "net.py").read_text() == NET


def test_the_diff_takes_the_place_of_no_other_file(code: Path) -> None:
    result = run(*CODE, "--unsafe", "-o", "net.py")
    assert result.exit_code == 2
    assert "is there already and is no diff" in result.stderr
    assert (code / "net.py").read_text() == NET
    for _ in range(2):
        assert run(*CODE, "--unsafe", "-o", "fix.patch").exit_code == 1
