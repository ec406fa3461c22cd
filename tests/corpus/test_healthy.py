"""Healthy published architectures, exported by both exporters in training and in inference form, raise no false alarm.

Errors are never approved. A warning may stand only if `approved.json` argues for it: {"model": {"rule": "why it is right there"}}.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import trainaudit

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxscript")

from tests.corpus.architectures import ARCHITECTURES  # noqa: E402
from tests.corpus.configs import CONFIGS  # noqa: E402
from tests.corpus.exporting import EXPORTERS, FORMS, export  # noqa: E402

APPROVED: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("approved.json").read_text(encoding="utf-8"))
MODELS = {**ARCHITECTURES, **CONFIGS}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", MODELS)
def test_healthy_model_is_quiet(name: str, exporter: str, form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, example = MODELS[name]()
    path = tmp_path / f"{name}.onnx"
    export(model, example, path, exporter=exporter, form=form)

    audit = trainaudit.audit(path)

    assert audit.model.coverage >= 0.99, audit.model.unrecognized
    loud = {finding.rule: finding.root.message for finding in audit.findings if finding.severity.value != "note"}
    assert not [finding.rule for finding in audit.findings if finding.severity.value == "error"], loud
    assert set(loud) <= set(APPROVED.get(name, {})), loud
    assert not [outcome for outcome in audit.outcomes if outcome.state.value == "failed"]
    assert audit.model.weights_state == "fresh"


def test_every_approval_has_an_argument_and_a_model() -> None:
    for name, rules in APPROVED.items():
        assert name in MODELS
        for argument in rules.values():
            assert len(argument.split()) >= 8
