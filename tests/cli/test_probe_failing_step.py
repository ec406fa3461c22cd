"""`trainaudit probe` where a step raises on the user's data: the record tells what met, and what file and data tell is judged all the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from trainaudit.cli import main

pytest.importorskip("torch")

NET = """
import torch
from torch import nn

def build(): return nn.Sequential(nn.Linear(12, 16), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid())
X, Y = torch.randn(96, 12), torch.randint(0, 3, (96,))
pair, narrow = (X, Y), (X[:, :7], Y)
class Nothing(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = nn.Linear(12, 3)
    def forward(self, x): raise RuntimeError("not written yet")
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def probe(target: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["probe", target, "--isolated", "--device", "cpu", *arguments])


def rules(path: str) -> set[str]:
    (audit,) = json.loads(Path(path).read_text())["audits"]
    return {finding["rule"] for finding in audit["findings"]}


def test_a_loss_that_raises_is_a_finding_beside_those_of_file_and_data(work: Path) -> None:
    result = probe("net.py:build", "--data", "net.py:pair", "--loss", "torch.nn:BCELoss", "--report", "a.json", "--report", "a.html",
                   "--trace", "t.json")  # fmt: skip
    said = " ".join(result.output.split())
    assert result.exit_code == 1, said
    assert rules("a.json") >= {"step-not-computable", "label-out-of-range", "linear-stack"}
    assert "0 of 200 steps of 32 examples" in said
    assert "ended by a loss that could not be computed on the data" in said
    assert "The loss raises on a batch of the data (ValueError: Using a target size (torch.Size([32]))" in said
    assert "Inputs: float32[32,12]; output: float32[32,1]; target: int64[32]." in said
    assert "output float32[32,1] against target int64[32]: no loss can be computed" in said
    assert "input baseline (the loss could not be computed on the data)" in said
    assert Path("a.html").stat().st_size > 10_000
    again = probe("net.py:build", "--from-trace", "t.json", "--report", "b.json")
    assert again.exit_code == 1, again.output
    assert rules("b.json") == rules("a.json")


def test_rules_of_a_run_that_did_not_come_about_are_not_run(work: Path) -> None:
    probe("net.py:build", "--data", "net.py:pair", "--loss", "bce", "--report", "a.json")
    (audit,) = json.loads(Path("a.json").read_text())["audits"]
    outcomes: dict[str, Any] = {outcome["rule"]: outcome for outcome in audit["outcomes"]}
    for rule in ("diverged", "vanishing-gradient", "dead-units", "cannot-overfit-one-batch", "frozen-parameter"):
        assert outcomes[rule]["state"] == "not-measured", rule
    assert outcomes["diverged"]["reason"] == "nothing was trained (loss failed)"


def test_a_forward_pass_that_raises_on_the_data_alone(work: Path) -> None:
    result = probe("net.py:build", "--data", "net.py:narrow", "--loss", "bce", "--report", "a.json")
    said = " ".join(result.output.split())
    assert result.exit_code == 1, said
    assert rules("a.json") >= {"step-not-computable", "linear-stack"}
    assert (
        "The forward pass raises on a batch of the data (RuntimeError: mat1 and mat2 shapes cannot be multiplied"
        in said
    )
    assert "Inputs: float32[32,7]; output: none; target: int64[32]." in said


def test_a_model_that_runs_on_nothing_is_no_model_to_audit(work: Path) -> None:
    result = probe("net.py:Nothing", "--data", "net.py:pair")
    said = " ".join(result.output.split())
    assert result.exit_code == 2, said
    assert "could not be run on its example input (float32[32,12]) at net.py:" in said
    assert "not written yet" in said
