"""Rules over a training run: `<rule-id>/bad.py` and `good.py` are specs of a probe, a small model with its data, loss and optimizer.

Of the recipe's experiments those run that the rule reads. The rule fires on bad.py on the subjects that it names; on good.py, the same without the
fault, neither it nor any other rule has an error or a warning. PLAN holds what else is asked of the probe. Steps alone end the parts of each probe.
"""

from __future__ import annotations

import re
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from tests.models import small_runs  # noqa: E402
from tests.models.clocks import AMPLE  # noqa: E402
from trainaudit.judge.rulefile import load_rules  # noqa: E402
from trainaudit.measure.catalog import PROBED  # noqa: E402
from trainaudit.measure.dynamic.experiments import experiments_for  # noqa: E402
from trainaudit.probing import probe_model  # noqa: E402
from trainaudit.resources import rules_folder  # noqa: E402
from trainaudit.result import Audit, Severity, State  # noqa: E402

FOLDER = Path(__file__).parent
RULES = {
    rule.id: rule
    for rule in load_rules([rules_folder()])
    if rule.evidence_level in PROBED and "data" not in (rule.category, rule.subject)
}
"""Those of the data have a test file of their own."""


@cache
def spec(rule: str, side: str) -> dict[str, Any]:
    path = FOLDER / rule / f"{side}.py"
    names: dict[str, Any] = {"__name__": f"{rule}/{side}"}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    return names


@cache
def probed(rule: str, side: str) -> Audit:
    names = spec(rule, side)
    plan = {"time_budget": AMPLE, "steps": 40, "experiments": experiments_for(RULES[rule].needs) or ("target-shape",)}
    torch.manual_seed(0)
    return probe_model(
        names["build_model"](),
        data=names["make_data"](),
        loss=names["make_loss"](),
        optimizer=names["make_optimizer"],
        **(plan | names.get("PLAN", {})),
    )


def subjects(result: Audit, rule: str) -> set[str]:
    return {
        occurrence.subject for finding in result.findings if finding.rule == rule for occurrence in finding.occurrences
    }


@pytest.mark.parametrize("rule", RULES)
def test_fires_on_its_bad_run(rule: str) -> None:
    assert set(spec(rule, "bad")["VIOLATES"]) <= subjects(probed(rule, "bad"), rule)


@pytest.mark.parametrize("rule", RULES)
def test_is_silent_on_its_good_run(rule: str) -> None:
    result = probed(rule, "good")
    loud = [
        (finding.rule, finding.root.message) for finding in result.findings if finding.severity is not Severity.NOTE
    ]
    assert loud == []
    states = {outcome.rule: outcome.state for outcome in result.outcomes}
    assert states[rule] is State.CLEAN


@pytest.mark.parametrize("rule", RULES)
def test_finding_is_complete(rule: str) -> None:
    """What a reader gets: a filled message, numbers with their sources, and code that can be read as Python."""
    (finding,) = [finding for finding in probed(rule, "bad").findings if finding.rule == rule]
    assert finding.fix is not None
    for text in (finding.fix.code, finding.fix.summary, *(occurrence.message for occurrence in finding.occurrences)):
        assert re.search(r"\{[a-z_.]+\}", text) is None, text
    compile("def fix():\n    pass\n" + textwrap.indent(finding.fix.code, "    "), rule, "exec")


def _probed(model: Any, data: Any, loss: Any) -> Audit:
    plan = {"steps": 12, "time_budget": AMPLE, "experiments": ("target-shape",)}
    return probe_model(model, data=data, loss=loss, optimizer=small_runs.adam, **plan)


def test_a_run_confirms_a_predicted_gradient_with_both_numbers() -> None:
    audit = _probed(
        small_runs.default(10, nn.Sigmoid), small_runs.batches(*small_runs.classes()), nn.CrossEntropyLoss()
    )
    (finding,) = [finding for finding in audit.findings if finding.rule == "predicted-vanishing-gradient"]
    assert (finding.probe, finding.is_live) == ("confirmed", True)
    predicted, measured = (float(number) for number in re.findall(r"\d[\d.]*e-\d+", finding.probe_note)[:2])
    assert 0.3 < measured / predicted < 3.0


def test_data_within_its_range_withdraw_a_bounded_output() -> None:
    inputs, targets = small_runs.values()
    model = nn.Sequential(*small_runs.mlp(outputs=1), nn.Tanh())
    audit = _probed(model, small_runs.batches(inputs, targets.clamp(-0.9, 0.9)), nn.MSELoss())
    (finding,) = [finding for finding in audit.findings if finding.rule == "bounded-output"]
    assert (finding.probe, finding.is_live) == ("withdrawn", False)
    assert "-0.9" in finding.probe_note
    audit = _probed(model, small_runs.batches(inputs, 3 * targets), nn.MSELoss())
    (finding,) = [finding for finding in audit.findings if finding.rule == "bounded-output"]
    assert (finding.probe, finding.severity) == ("confirmed", Severity.ERROR)
