"""Nine real topologies from the onnx package's own test data, whose weights are constant fills made in the graph."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import trainaudit
from trainaudit.result import State

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
MODELS = sorted(FOLDER.glob("*.onnx"))

WEIGHT_RULES = ("symmetric-init", "zero-init-hidden", "non-finite-weights", "extreme-weights")


def test_all_nine_are_here() -> None:
    assert len(MODELS) == 9


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_light_model(path: Path) -> None:
    audit = trainaudit.audit(path)
    assert audit.model.coverage == 1.0
    assert [finding.rule for finding in audit.findings if finding.severity.value != "note"] == []
    # constant weights are no fault of the model: the rules on weights say what they are, and were not run
    assert audit.model.weights_state == "generated"
    assert any("makes its weights itself" in warning for warning in audit.warnings)
    outcomes = {outcome.rule: outcome for outcome in audit.outcomes}
    for rule in WEIGHT_RULES:
        assert outcomes[rule].state is State.NOT_MEASURED, rule
        assert "no weights" in outcomes[rule].reason
    for rule in ("unreachable-parameter", "ignored-input", "constant-output"):
        assert outcomes[rule].state is State.CLEAN, rule
