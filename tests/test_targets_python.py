"""Python targets as a user names them: what is imported and called, what is inferred, and one sentence for everything that fails."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")

from tests.target_runs import audited, refused
from trainaudit.cli import main

NET = """
import torch
from torch import nn

print("the user's own words")

class Net(nn.Module):
    def __init__(self, width=8, act="relu"):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.head = nn.Linear(width, 10)
        self.act = getattr(torch, act)

    def forward(self, x):
        x = self.act(self.stem(x)).mean((2, 3))
        return torch.softmax(self.head(x), dim=1)

class Outer:
    inner = Net()

class Carries(nn.Module):
    example_input_array = torch.zeros(2, 5)

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(5, 4)

    def forward(self, x):
        return self.fc(x)

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(7, 4)
        self.fc = nn.Linear(3, 4)

    def forward(self, ids, x, mask=None):
        return self.emb(ids).sum(1) + self.fc(x)

instance = Net()
pair = (Net(), torch.randn(2, 3, 9, 9))
by_name = (Two(), {"ids": torch.zeros(2, 5, dtype=torch.int64), "x": torch.zeros(2, 3)})
number = 3

def build(width, *, act="relu"):
    return Net(width, act)

def make_pair():
    return Net(), torch.randn(2, 3, 9, 9)

def nothing():
    return None

def broken():
    return helper()

def helper():
    raise ValueError("no such width")

def leaves():
    raise SystemExit(3)
"""


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def rules(audit: dict[str, Any]) -> set[str]:
    return {finding["rule"] for finding in audit["findings"]}


@pytest.mark.parametrize(
    "target",
    [
        "net.py:Net",
        "net:Net",
        "net.py:instance",
        "net.py:pair",
        "net.py:make_pair",
        "net.py:Outer.inner",
        "./net.py:Net",
    ],
)
def test_every_way_to_name_a_module(target: str) -> None:
    audit = audited(target, "--loss", "cross-entropy")
    assert "double-softmax" in rules(audit)
    assert audit["target"] == target
    model = audit["model"]
    assert model["capture"] == "captured with torch.export in training mode"
    assert (model["file"], model["form"], model["parameter_count"]) == ("net.py", "training", 8 * 27 + 8 + 90)


def test_a_finding_stands_at_the_line_of_the_users_code() -> None:
    line = NET.splitlines().index("        return torch.softmax(self.head(x), dim=1)") + 1
    (finding,) = [
        f for f in audited("net.py:Net", "--loss", "cross-entropy")["findings"] if f["rule"] == "double-softmax"
    ]
    location = finding["occurrences"][0]["location"]
    assert (location["file"], location["line"]) == ("net.py", line)
    loss = ("--loss", "cross-entropy", "--isolated", "--select", "output")
    text = CliRunner().invoke(main, ["net.py:Net", *loss]).stdout
    assert f"net.py:{line}" in text
    github = CliRunner().invoke(main, ["net.py:Net", *loss, "--output-format", "github"]).stdout
    assert f"::error file=net.py,line={line}," in github
    sarif = json.loads(CliRunner().invoke(main, ["net.py:Net", *loss, "--output-format", "sarif"]).stdout)
    place = sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "net.py"
    assert place["region"]["startLine"] == line


def test_what_the_users_code_prints_goes_to_standard_error() -> None:
    result = CliRunner().invoke(main, ["net.py:Net", "--isolated", "--output-format", "json"])
    json.loads(result.stdout)
    assert "the user's own words" in result.stderr


def test_arguments_reach_the_factory() -> None:
    assert audited("net.py:build", "-k", "width=4")["model"]["parameter_count"] == 4 * 27 + 4 + 50
    audit = audited("net.py:Net", "-k", "width=4", "-k", "act=tanh")
    assert {row["op"] for row in audit["layers"]} >= {"tanh"}


def test_the_same_target_gives_the_same_record() -> None:
    first, second = (audited("net.py:Net") for _ in range(2))
    assert first["facts"]["parameter.std"] == second["facts"]["parameter.std"]
    assert first["findings"] == second["findings"]


def test_sys_path_and_random_state_are_as_before() -> None:
    import random

    import numpy
    import torch

    path, states = list(sys.path), (random.getstate(), torch.get_rng_state(), numpy.random.get_state()[1].tolist())  # type: ignore[index,union-attr]
    audited("net.py:Net")
    refused("net.py:broken")
    assert sys.path == path
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    assert numpy.random.get_state()[1].tolist() == states[2]  # type: ignore[index,union-attr]


# --- refusals ------------------------------------------------------------------------------------------------------------


def line_of(text: str) -> int:
    return NET.splitlines().index(text) + 1


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("net.py:Nett", 'net.py has no Nett. Did you mean "Net"?'),
        ("net:Nett", 'net has no Nett. Did you mean "Net"?'),
        ("net.py:Outer.iner", 'net.py has no iner. Did you mean "inner"?'),
        ("nett:Net", "There is no Python module nett. Run it in the folder that holds the package"),
        ("net.sub:Net", "There is no Python module net"),
        ("gone.py:Net", "gone.py:Net: gone.py does not exist."),
        ("net.py:build", "needs width. Give it: -k width=VALUE."),
        ("net.py:number", "is an int, which is no model. Name a torch.nn.Module"),
        ("net.py:nothing", "gives a NoneType, which is no model. Name a torch.nn.Module"),
        ("net.py:broken", f"failed at net.py:{line_of('    raise ValueError(' + chr(34) + 'no such width' + chr(34) + ')')} (ValueError: no such width)"),
        ("net.py:leaves", f"failed at net.py:{line_of('    raise SystemExit(3)')} (SystemExit: the code calls exit(3))"),
    ],
)  # fmt: skip
def test_what_fails_gets_one_sentence(target: str, words: str) -> None:
    assert words in refused(target)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "x = 1\nimport not_there_at_all\n",
            "Importing bad.py failed at bad.py:2 (ModuleNotFoundError: No module named 'not_there_at_all')",
        ),
        ("x = 1\n\ndef f(:\n", "Importing bad.py failed at bad.py:3 (SyntaxError: invalid syntax)"),
        ("1 / 0\n", "Importing bad.py failed at bad.py:1 (ZeroDivisionError: division by zero)"),
        (
            "import sys\nsys.exit('usage: bad.py')\n",
            "failed at bad.py:2 (SystemExit: the code calls exit(usage: bad.py))",
        ),
        ("raise ValueError('\\x1b[31mred')\n", "(ValueError: "),
    ],
)
def test_a_module_that_cannot_be_imported_gets_one_sentence(code: str, words: str) -> None:
    Path("bad.py").write_text(code)
    said = refused("bad.py:model")
    assert words in said
    assert "\x1b" not in said


def test_the_traceback_is_shown_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINAUDIT_DEBUG", "1")
    result = CliRunner().invoke(main, ["net.py:broken", "--isolated"])
    assert result.exit_code == 2
    assert re.search(r"Traceback.*in helper.*no such width", result.stderr, re.DOTALL)


def test_an_unknown_argument_is_named() -> None:
    assert 'takes no argument widht. Did you mean "width"?' in refused("net.py:build", "-k", "widht=3")


def test_an_input_of_no_parameter_is_named() -> None:
    assert "forward of net.py:Net takes no input image. It takes x." in refused(
        "net.py:Net", "--input", "image=float32[2,3,8,8]"
    )


# --- importing -----------------------------------------------------------------------------------------------------------


def test_files_of_packages_import_their_neighbors(work: Path) -> None:
    package = work / "src" / "proj" / "models"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package.parent / "parts.py").write_text("from torch import nn\ndef head(): return nn.Linear(4, 2)\n")
    (package / "net.py").write_text("from torch import nn\nfrom ..parts import head\nmodel = nn.Sequential(head())\n")
    assert audited("src/proj/models/net.py:model")["model"]["parameter_count"] == 10


def test_files_of_one_name_are_two_modules(work: Path) -> None:
    for folder, width in (("a", 3), ("b", 5)):
        (work / folder).mkdir()
        (work / folder / "model.py").write_text(
            f"from torch import nn\nfrom parts import width\nnet = nn.Linear(width, {width})\n"
        )
        (work / folder / "parts.py").write_text(f"width = {width}\n")
    assert audited("a/model.py:net")["model"]["parameter_count"] == 12
    del sys.modules["parts"]
    assert audited("b/model.py:net")["model"]["parameter_count"] == 30


def test_a_file_named_like_a_library_is_no_trouble() -> None:
    Path("json.py").write_text("from torch import nn\nnet = nn.Linear(2, 3)\n")
    assert audited("json.py:net")["model"]["parameter_count"] == 9
    assert json.dumps({}) == "{}"


def test_names_cannot_write_to_the_terminal_or_the_page(work: Path) -> None:
    Path("odd.py").write_text(
        "from torch import nn\nmodel = nn.Sequential()\n"
        "model.add_module('<script>alert(1)<|script>\\x1b[31m', nn.Linear(4, 4))\n"
        "nn.init.constant_(next(model.parameters()), 0.1)\nmodel.add_module('b', nn.Linear(4, 2))\n"
    )
    result = CliRunner().invoke(main, ["odd.py:model", "--isolated", "--report", "r.html"])
    assert result.exit_code in (0, 1), result.output
    assert "symmetric-init" in result.stdout
    assert "\x1b" not in result.stdout
    assert "<script>alert" not in Path("r.html").read_text("utf-8")


def test_many_targets_are_audited_in_parallel(work: Path) -> None:
    """In a program of its own: the processes of this one may not be forked once torch has threads."""
    (work / "ends.py").write_text("import os\nos._exit(3)\n")
    program = [sys.executable, "-m", "trainaudit", "net.py:Net", "net.py:pair", "--isolated", "--jobs", "2"]
    done = subprocess.run([*program, "--output-format", "json"], capture_output=True, text=True, timeout=300)
    assert [audit["target"] for audit in json.loads(done.stdout)["audits"]] == ["net.py:Net", "net.py:pair"], (
        done.stderr
    )
    done = subprocess.run([*program, "ends.py:net"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "a process that audited beside it was ended" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stderr


def test_modules_are_found_beside_the_settings_too(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "deep").mkdir()
    (work / "trainaudit.toml").write_text('targets = ["net:Net"]\n')
    monkeypatch.chdir(work / "deep")
    result = CliRunner().invoke(main, ["--output-format", "json", "--exit-zero"])
    assert [audit["target"] for audit in json.loads(result.stdout)["audits"]] == ["net:Net"]


def test_no_absolute_path_reaches_the_record(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "elsewhere").mkdir()
    monkeypatch.chdir(work / "elsewhere")
    words = [f"{work}/net.py:Net", f"{work}/net.py:broken", f"{work}/gone.py:Net", f"hf:{work}/none", f"{work}/none.pt"]
    result = CliRunner().invoke(main, [*words, "--isolated", "--output-format", "json"])
    record = json.loads(result.stdout)
    assert len(record["failures"]) == 4
    assert str(work) not in result.stdout
    program = [
        sys.executable,
        "-m",
        "trainaudit",
        f"{work}/net.py:build",
        "-k",
        f"root={work}/data",
        "--isolated",
        "--output-format",
        "json",
    ]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout)["command"] == "trainaudit net.py:build -k root=data --isolated --output-format json"
    assert str(work) not in done.stdout


SPEC = """
import torch
from torch import nn

def build_model():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4), nn.Softmax(1))

def make_loss():
    return LOSS
"""


@pytest.mark.parametrize(
    ("loss", "found"),
    [("nn.CrossEntropyLoss()", ["double-softmax"]), ("lambda output, target: output.sum()", []), ("1 / 0", [])],
)
def test_the_loss_of_the_file_that_builds_the_model_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str, found: list[str]
) -> None:
    """One of the user's own, or one that cannot be made, is left to the probe."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec_of_loss.py").write_text(SPEC.replace("LOSS", loss))
    sys.modules.pop("spec_of_loss", None)
    arguments = ["spec_of_loss.py:build_model", "--input", "float32[4,8]", "--output-format", "json"]
    (audit,) = json.loads(CliRunner().invoke(main, arguments).stdout)["audits"]
    assert [one["rule"] for one in audit["findings"] if one["severity"] != "note"] == found
    assert any("make_loss beside build_model" in note for note in audit["warnings"]) is bool(found)
    (declared,) = json.loads(CliRunner().invoke(main, [*arguments, "--loss", "nll"]).stdout)["audits"]
    assert not any("make_loss" in note for note in declared["warnings"])
