"""`probe --prove-fixes`: fixes of findings are made on a copy, trained beside the model, and told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import trainaudit
from trainaudit.cli import main
from trainaudit.ir.graph import Graph
from trainaudit.proving import alters_loss
from trainaudit.result import Audit

torch = pytest.importorskip("torch")

NET = """
import torch
from torch import nn

def build_model():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)
    )
    for item in model.parameters():
        item.data.mul_(0.1 if item.ndim > 1 else 0.0)
    return model

def make_data():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(128, 8, generator=generator)
    return inputs, inputs[:, :3].argmax(1)

def make_loss():
    return nn.CrossEntropyLoss()

def make_optimizer(model):
    return torch.optim.Adam(model.parameters(), lr=0.01)
"""
RULE = """
id = "{name}"
name = "A rule of a test"
severity = "warning"
confidence = "high"
status = "stable"
since = "0.1"
recipe = "2.verify-decreasing-loss"
subject = "parameter"
applies_to = "parameter.is_trainable"
when = 'parameter.role == "weight"'
message = "{{parameter.name}} is a weight."
why = "It is one."

[fix]
summary = "Do something."
safety = "changes-training"
recipe = [{{ change = "scale", where = "{{parameter.name}}", amount = {amount} }}]

[[references]]
title = "None"
url = "https://example.org"

[[examples.bad]]
"parameter.is_trainable" = true
"parameter.role" = "weight"

[[examples.good]]
"parameter.is_trainable" = true
"parameter.role" = "bias"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("proofs")
    (made / "net.py").write_text(NET, encoding="utf-8")
    rules = made / "rules"
    rules.mkdir()
    for name, amount in (("too-small", 20.0), ("as-it-is", 1.0), ("made-worse", 3000.0)):
        (rules / f"{name}.toml").write_text(RULE.format(name=name, amount=amount), encoding="utf-8")
    return made


def probe(folder: Path, *arguments: str) -> Any:
    rules = ("--rules", str(folder / "rules"), "--select", "too-small,as-it-is,made-worse")
    common = ("--isolated", "--exit-zero", "--device", "cpu", "--steps", "40", "--experiments", "loss-at-init")
    return CliRunner().invoke(main, ["probe", f"{folder / 'net.py'}:build_model", *rules, *common, *arguments])


@pytest.fixture(scope="module")
def record(folder: Path) -> Any:
    path = folder / "record.json"
    result = probe(folder, "--prove-fixes", "--time-budget", "10000", "-o", str(path), "--output-format", "json")
    assert result.exit_code == 0, result.output
    return json.loads(path.read_text(encoding="utf-8"))


def proofs(record: Any) -> dict[str, Any]:
    return {finding["rule"]: finding["proof"] for finding in record["audits"][0]["findings"]}


def test_each_fix_gets_its_verdict(record: Any) -> None:
    found = proofs(record)
    assert {rule: proof["verdict"] for rule, proof in found.items()} == {
        "too-small": "proved",
        "as-it-is": "no effect",
        "made-worse": "worse",
    }
    assert found["too-small"]["steps"] == 40
    predicted = [effect["name"] for effect in found["too-small"]["effects"] if not effect["is_measured"]]
    assert predicted[0] == "gradient ratio"
    assert found["too-small"]["effects"][0]["is_measured"] is False


def test_what_helped_is_told_together(record: Any) -> None:
    together = record["audits"][0]["together"]
    assert together["rules"] == ["too-small"]
    assert together["verdict"] == "proved"


def test_a_second_run_gives_the_same_record_of_proofs(record: Any, folder: Path) -> None:
    path = folder / "again.json"
    probe(folder, "--prove-fixes", "--time-budget", "10000", "-o", str(path), "--output-format", "json")
    again = json.loads(path.read_text(encoding="utf-8"))
    assert _timeless(proofs(again)) == _timeless(proofs(record))


def _timeless(found: dict[str, Any]) -> dict[str, Any]:
    return {rule: {**proof, "seconds": 0} for rule, proof in found.items()}


def test_a_saved_record_shows_its_proofs_and_recommends_nothing_that_did_not_help(record: Any, folder: Path) -> None:
    path = folder / "saved.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    full = CliRunner(env={"COLUMNS": "80"}).invoke(main, ["report", str(path), "--color", "never"]).stdout
    text = " ".join(full.split())
    assert "proof proved: loss after 40 steps" in text
    assert "fix tried: no effect." in text
    assert "fix tried: worse." in text
    assert "3 fixes tried alone: 1 proved, 1 with no effect, 1 worse. Best alone: too-small; proved: loss" in text
    assert max(map(len, full.splitlines())) <= 80
    markdown = CliRunner().invoke(main, ["report", str(path), "--output-format", "markdown"]).stdout
    assert "**Proof: proved: loss after 40 steps" in markdown


def test_without_time_nothing_is_proved_and_the_record_says_so(folder: Path) -> None:
    result = probe(folder, "--prove-fixes", "--time-budget", "1", "--steps", "2000", "--color", "never")
    text = " ".join(result.stdout.split())
    assert "3 fixes tried alone: 3 not run." in text
    assert (
        "proof not run: cut: the 2,000 steps of each run did not all fit into the time budget (trainaudit probe" in text
    )
    assert "3 of 3 fixes could not be proved within the time budget of 1 s" in text


def test_nobody_asked_for_proofs(folder: Path) -> None:
    audit = json.loads(probe(folder, "--output-format", "json").stdout)["audits"][0]
    assert audit["together"] is None
    assert {finding["proof"] for finding in audit["findings"]} == {None}


def test_a_module_of_the_users_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3), torch.nn.Softmax(1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs = torch.randn(64, 4)
    audit = trainaudit.probe_model(
        model, data=(inputs, inputs[:, :3].argmax(1)), loss="cross-entropy", device="cpu", learning_rate=0.01, steps=60,
        experiments=("overfit-one-batch",), time_budget=10_000.0, select=("double-softmax",), prove_fixes=True,
    )  # fmt: skip
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(item.grad is None for item in model.parameters())
    proof = _only_proof(audit)
    assert [change.kind for change in proof.changes] == ["drop-layer"]
    assert proof.verdict == "proved"
    assert proof.compared == "wrong classes"
    assert any("one batch" in effect.name for effect in proof.effects)


def _only_proof(audit: Audit) -> Any:
    (finding,) = audit.findings
    assert finding.proof is not None
    return finding.proof


def graph_of(model: Any) -> Graph:
    from trainaudit.load.torch.opening import open_object

    return open_object(model, torch.zeros(2, 4), (), "net")


def test_losses_of_probabilities_are_not_compared_across_another_output() -> None:
    from trainaudit.changes import Change

    graph = graph_of(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3)))
    first, second, last = (layer.name for layer in graph.layers)
    softmax = Change("insert-activation", last, "softmax")
    assert alters_loss(graph, "categorical-crossentropy", (softmax,))
    assert alters_loss(graph, "cross-entropy", (softmax,))  # it bounds the loss from above
    assert not alters_loss(graph, "mse", (softmax,))
    assert not alters_loss(
        graph, "categorical-crossentropy", (replace(softmax, where=first), replace(softmax, where=second))
    )
    assert alters_loss(graph, "mse", (Change("loss", to="cross-entropy"),))
    assert alters_loss(graph, "mse", (Change("mean-loss"),))
    assert not alters_loss(graph, "mse", (Change("learning-rate", amount=0.1),))
