"""`trainaudit.audit` of a module that is there already: what it takes, what it says, and that it leaves everything as it found it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

import trainaudit
from trainaudit.report.files import write_report
from trainaudit.report.formats import render
from trainaudit.result import Audit


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(8, 5)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        x = self.drop(torch.relu(self.norm(self.stem(x)))).mean((2, 3))
        return torch.softmax(self.head(x), 1)


def rules(audit: Audit) -> set[str]:
    return {finding.rule for finding in audit.findings}


@pytest.mark.parametrize(
    "example", [torch.zeros(2, 3, 8, 8), (torch.zeros(2, 3, 8, 8),), {"x": torch.zeros(2, 3, 8, 8)}, None]
)
def test_a_module_and_its_example(example: Any) -> None:
    found = trainaudit.audit(Net(), example, loss="cross-entropy")
    assert found.target == "Net"
    assert "double-softmax" in rules(found)
    assert found.model.capture == "captured with torch.export in training mode"
    assert any("was inferred from stem (Conv2d)" in warning for warning in found.warnings) == (example is None)
    (finding,) = [finding for finding in found.findings if finding.rule == "double-softmax"]
    assert (finding.root.location.file or "").endswith("test_audit_of_modules.py")


def test_an_input_may_be_specified() -> None:
    found = trainaudit.audit(Net(), input="float32[4,3,12,12]")
    assert found.model.inputs == ("x: float32[batch, 3, 12, 12]",)
    found = trainaudit.audit(Net(), input={"x": "float32[4,3,12,12]"})
    assert found.model.inputs == ("x: float32[batch, 3, 12, 12]",)


def test_an_exported_program() -> None:
    program = torch.export.export(Net(), (torch.zeros(2, 3, 8, 8),))
    found = trainaudit.audit(program, loss="cross-entropy")
    assert "double-softmax" in rules(found)


def test_the_names_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.py").write_text("from torch import nn\ndef build(width): return nn.Linear(width, 3)\n")
    found = trainaudit.audit("tiny.py:build", arguments={"width": 4}, input="float32[2,4]")
    assert (found.target, found.model.parameter_count) == ("tiny.py:build", 15)


@pytest.mark.parametrize("thing", [3, None, nn, Net, [Net()]])
def test_what_is_no_model_is_refused(thing: object) -> None:
    with pytest.raises(trainaudit.TrainauditError, match="is no model"):
        trainaudit.audit(thing)


def test_an_example_goes_with_a_module() -> None:
    with pytest.raises(trainaudit.TrainauditError, match="An example goes with a module"):
        trainaudit.audit("m.onnx", torch.zeros(2))


def state_of(module: nn.Module) -> Iterator[object]:
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        yield name, tensor.data_ptr(), tensor.dtype, tensor.requires_grad, tensor.tolist()
        yield None if tensor.grad is None else tensor.grad.tolist()
    for name, part in module.named_modules():
        yield name, part.training, len(part._forward_hooks), len(part._forward_pre_hooks), sorted(vars(part))
    yield torch.get_rng_state().tolist(), random.getstate(), torch.is_grad_enabled(), torch.get_default_dtype()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("example", [torch.randn(2, 3, 8, 8), None])
def test_the_module_is_left_as_found(training: bool, example: Any) -> None:
    module = Net().train(training)
    module.drop.train(not training)
    module.stem.weight.requires_grad_(False)
    module(torch.randn(2, 3, 8, 8)).sum().backward()
    module.register_forward_hook(lambda *_: None)
    before, calls = list(state_of(module)), module.calls
    trainaudit.audit(module, example, loss="cross-entropy")
    assert list(state_of(module)) == before
    assert module.calls == calls


def test_the_module_is_left_as_found_where_its_forward_fails() -> None:
    module = Net()
    before = list(state_of(module))
    with pytest.raises(trainaudit.TrainauditError, match="could not be run on its example input"):
        trainaudit.audit(module, torch.zeros(2, 4, 8, 8))
    assert list(state_of(module)) == before


def test_a_breakdown_of_the_tool_is_not_laid_to_the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainaudit.load.torch import from_torch

    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(from_torch, "canonicalize", broken)
    with pytest.raises(ZeroDivisionError):
        trainaudit.audit(Net(), torch.zeros(2, 3, 8, 8))


def test_a_module_on_the_meta_device_has_no_values() -> None:
    with torch.device("meta"):
        module, example = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), torch.empty(2, 8)
    audit = trainaudit.audit(module, example)
    assert [warning for warning in audit.warnings if "meta device" in warning]
    assert "on the meta device" in audit.unmeasured["parameter.std"]
    assert not any("file" in warning for warning in audit.warnings)


def test_a_record_of_a_module_renders_in_every_format(tmp_path: Path) -> None:
    from trainaudit.auditing import chosen_rules
    from trainaudit.judge.rule import rule_info
    from trainaudit.result import Run
    from trainaudit.settings import Settings

    found = trainaudit.audit(Net(), loss="cross-entropy")
    infos = tuple(rule_info(rule) for rule in chosen_rules(Settings()))
    run = Run("0", (found,), infos, {}, {}, "", "warning")
    for form in ("full", "concise", "json", "sarif", "junit", "github", "gitlab", "markdown"):
        text = render(run, form, width=80, color=False)
        assert "double-softmax" in text, form
    assert "captured with torch.export in training mode" in " ".join(render(run, "full", width=80, color=False).split())
    write_report([run], str(tmp_path / "r.html"))
    assert "<dt>Captured</dt><dd>captured with torch.export in training mode" in (tmp_path / "r.html").read_text(
        "utf-8"
    )
