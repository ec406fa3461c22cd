"""What is made of a finding's fix, with proofs and without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fix.file.models import perceptron, saved, weights
from trainaudit.auditing import audit, chosen_rules
from trainaudit.changes import GRAPH, TRAINING, WEIGHTS, Change
from trainaudit.fixing import choices_of, plan_repair, prove, write_repair
from trainaudit.load.target import Target
from trainaudit.probe.plan import ProbePlan
from trainaudit.result import NO_EFFECT, NOT_RUN, PROVED, WORSE, Audit, Finding, Proof
from trainaudit.settings import Settings

INIT = Change("initialize", "fc0.weight", "kaiming_normal")
RATE = Change("learning-rate", "", "", 0.01)


@pytest.fixture
def found(tmp_path: Path) -> Audit:
    """Of a network with tiny weights: one finding, undersized-init."""
    return audit(saved(_tiny(), tmp_path / "net.onnx"), loss="cross-entropy")


def _tiny() -> Any:
    """Weights of a standard deviation of 0.003, and no biases."""
    net = perceptron((16, 32, 32, 32, 4))
    for item in net.graph.initializer:
        factor = np.float32(0.003 if "weight" in item.name else 0.0)
        item.raw_data = (np.frombuffer(item.raw_data, np.float32) * factor).tobytes()
    return net


def proved(rule: str, verdict: str, changes: tuple[Change, ...] = (INIT,), *others: str) -> Proof:
    return Proof(verdict, "as 3 of 3 pairs say", (rule, *others), changes)


def with_proof(found: Audit, proof: Proof | None, together: Proof | None = None) -> Audit:
    def of(finding: Finding) -> Finding:
        return replace(finding, proof=proof) if finding.rule == "undersized-init" else finding

    return replace(found, findings=tuple(map(of, found.findings)), together=together)


def reasons(found: Audit, *, parts: tuple[str, ...] = (WEIGHTS,)) -> dict[str, str]:
    return {choice.finding.rule: choice.reason for choice in choices_of(found, parts, is_proved=True)}


def test_the_network_has_the_fault(found: Audit) -> None:
    assert [finding.rule for finding in found.findings] == ["undersized-init"]
    assert found.findings[0].root.changes


@pytest.mark.parametrize(("verdict", "is_made"), [(PROVED, True), (NO_EFFECT, False), (WORSE, False), (NOT_RUN, False)])
def test_only_what_is_proved_is_made(found: Audit, verdict: str, is_made: bool) -> None:
    (choice,) = choices_of(with_proof(found, proved("undersized-init", verdict)), (WEIGHTS,), is_proved=True)
    assert bool(choice.wanted) is is_made
    assert (verdict in choice.reason) is not is_made
    assert choices_of(found, (WEIGHTS,), is_proved=False)[0].wanted


def test_what_was_not_tried_is_not_made(found: Audit) -> None:
    assert reasons(with_proof(found, None)) == {"undersized-init": "it was not proved"}


def test_what_helps_together_is_made_where_all_of_it_can_be(found: Audit) -> None:
    alone = proved("undersized-init", NO_EFFECT)
    both = proved("learning-rate-too-high", PROVED, (RATE, INIT), "undersized-init")
    assert reasons(with_proof(found, alone, both), parts=(WEIGHTS, TRAINING)) == {"undersized-init": ""}
    assert NO_EFFECT in reasons(with_proof(found, alone, both), parts=(WEIGHTS, GRAPH))["undersized-init"]


def test_what_helps_no_more_beside_the_others_is_left(found: Audit) -> None:
    together = proved("other-rule", PROVED, (INIT,))
    assert (
        "beside the others"
        in reasons(with_proof(found, proved("undersized-init", PROVED), together))["undersized-init"]
    )


def test_a_proof_is_run_and_what_it_proves_is_made(tmp_path: Path) -> None:
    """All the way: the probe, the proof on the module made of the file, and the file."""
    pytest.importorskip("torch")
    settings = replace(Settings(), loss="cross-entropy", select=("undersized-init",))
    rules = chosen_rules(settings)
    target = Target(saved(_tiny(), tmp_path / "net.onnx"))
    plan = ProbePlan(loss="cross-entropy", steps=30, device="cpu", time_budget=600, experiments=("loss-at-init",))
    record = prove(target, plan, settings, rules, lambda *_: None)
    (finding,) = record.findings
    assert finding.proof is not None
    assert finding.proof.verdict != NOT_RUN, finding.proof.reason
    repair = plan_repair(target, settings, rules, unsafe=False, seed=3, proved=record)
    assert bool(repair.plan.taken) is (finding.proof.verdict == PROVED)
    if repair.plan.taken:
        compared = write_repair(repair, tmp_path / "fixed.onnx", settings, rules)
        assert not compared.left
        assert weights(tmp_path / "fixed.onnx")["fc0.weight"].std() > 0.1
