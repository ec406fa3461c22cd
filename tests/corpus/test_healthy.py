"""Healthy published architectures raise no false alarm, fresh or trained.

Errors are never approved. A warning may stand only if `approved.json` argues for it: {"model": {"rule": "why it is right there"}}. Each
network takes one of the four ways to export, in turn; `python -m benchmarks.calibration healthy` takes them all.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import trainaudit
from trainaudit.result import Audit

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxscript")

from tests.corpus.architectures import ARCHITECTURES  # noqa: E402
from tests.corpus.configs import CONFIGS  # noqa: E402
from tests.corpus.exporting import ONLY_DYNAMO, export  # noqa: E402
from tests.corpus.training import train  # noqa: E402

APPROVED: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("approved.json").read_text(encoding="utf-8"))
MODELS = {**ARCHITECTURES, **CONFIGS}
# torch.export takes seconds where tracing takes a tenth of one: the configurations see it less often
WAYS = (("torchscript", "training"), ("dynamo", "training"), ("torchscript", "inference"), ("dynamo", "inference"))
RARE = (*WAYS, *[("torchscript", "training"), ("torchscript", "inference")] * 2)
TURNS = [
    *((name, *WAYS[index % len(WAYS)]) for index, name in enumerate(ARCHITECTURES)),
    *((name, *RARE[index % len(RARE)]) for index, name in enumerate(CONFIGS)),
]


def judged(audit: Audit, name: str) -> None:
    """Nothing unrecognized, nothing failed, no error, and no warning that nobody argued for."""
    assert audit.model.coverage >= 0.99, audit.model.unrecognized
    loud = {finding.rule: finding.root.message for finding in audit.findings if finding.severity.value != "note"}
    assert not [finding.rule for finding in audit.findings if finding.severity.value == "error"], loud
    assert set(loud) <= set(APPROVED.get(name, {})), loud
    assert not [outcome for outcome in audit.outcomes if outcome.state.value == "failed"]


@pytest.mark.parametrize(("name", "exporter", "form"), TURNS)
def test_fresh_network_is_quiet(name: str, exporter: str, form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, example = MODELS[name]()
    path = tmp_path / f"{name}.onnx"
    export(model, example, path, exporter="dynamo" if name in ONLY_DYNAMO else exporter, form=form)

    audit = trainaudit.audit(path)

    judged(audit, name)
    assert audit.model.weights_state == "fresh"


@pytest.mark.parametrize(
    "name", ["vit", "gru_seq2seq", "dcgan_discriminator", "llama_from_paper", "autoencoder", "dlrm"]
)
def test_trained_network_is_quiet(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, example = MODELS[name]()
    before, after = train(model, example, steps=60)
    path = tmp_path / f"{name}.onnx"
    export(model, example, path, exporter="torchscript", form="training")

    audit = trainaudit.audit(path)

    assert after < before
    judged(audit, name)
    assert audit.model.weights_state == "trained"


def test_every_approval_has_an_argument_and_a_model() -> None:
    for name, rules in APPROVED.items():
        assert name in MODELS
        for argument in rules.values():
            assert len(argument.split()) >= 8
