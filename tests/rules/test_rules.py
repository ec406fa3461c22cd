"""Every built-in rule: its file, its examples, and its pair of models.

`<rule-id>/bad.py` holds one fault and fires that rule on the subjects that it names, and no other error or warning; `good.py` is the
same model without the fault and comes out clean. LOSS in such a file is what `--loss` would declare.
"""

from __future__ import annotations

import re
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import pytest

from trainaudit.auditing import audit
from trainaudit.judge.rule import Rule
from trainaudit.judge.rule_testing import check_examples
from trainaudit.judge.rulefile import load_rules
from trainaudit.measure.catalog import BY_NAME, PROBED
from trainaudit.resources import rules_folder
from trainaudit.result import Audit, Severity

FOLDER = Path(__file__).parent
ALL = {rule.id: rule for rule in load_rules([rules_folder()])}
RULES = {name: rule for name, rule in ALL.items() if rule.evidence_level not in PROBED}
"""Those that a file alone can be judged by; pairs of the others are specs of a probe, see the test files beside."""


@cache
def script(rule: str, side: str) -> dict[str, Any]:
    """The names that a bad.py or good.py defines."""
    path = FOLDER / rule / f"{side}.py"
    names: dict[str, Any] = {"__name__": f"{rule}/{side}"}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    return names


@pytest.fixture(scope="session")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(rule, side) → the audit of that model, each made once."""
    folder = tmp_path_factory.mktemp("pairs")

    @cache
    def run(rule: str, side: str) -> Audit:
        names = script(rule, side)
        path = folder / f"{rule}-{side}.onnx"
        names["build"](str(path))
        onnx.checker.check_model(str(path))
        return audit(path, loss=names.get("LOSS"))

    return run


def serious(result: Audit) -> set[str]:
    """Ids of the rules whose errors and warnings are in the audit."""
    return {finding.rule for finding in result.findings if finding.severity is not Severity.NOTE}


def subjects(result: Audit, rule: str) -> set[str]:
    return {
        occurrence.subject for finding in result.findings if finding.rule == rule for occurrence in finding.occurrences
    }


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
def test_examples(rule: Rule) -> None:
    checks = check_examples(rule)
    assert {check.what.split()[0] for check in checks} >= {"bad", "good", "not-applicable"}
    assert [f"{check.what}: {check.detail}" for check in checks if not check.passed] == []


@pytest.mark.parametrize("rule", RULES)
def test_fires_on_its_bad_model(rule: str, audited: Any) -> None:
    result = audited(rule, "bad")
    assert subjects(result, rule) == set(script(rule, "bad")["VIOLATES"])


@pytest.mark.parametrize("rule", RULES)
def test_fires_alone(rule: str, audited: Any) -> None:
    assert serious(audited(rule, "bad")) <= {rule}


@pytest.mark.parametrize("rule", RULES)
def test_is_silent_on_its_good_model(rule: str, audited: Any) -> None:
    result = audited(rule, "good")
    assert subjects(result, rule) == set()
    assert serious(result) == set()


@pytest.mark.parametrize("rule", RULES)
def test_finding_is_complete(rule: str, audited: Any) -> None:
    """What a reader gets: a filled message, numbers with their sources, and code that names the place."""
    findings = [finding for finding in audited(rule, "bad").findings if finding.rule == rule]
    assert findings
    for finding in findings:
        assert finding.fix is not None
        texts = [finding.fix.code, finding.fix.summary, *(occurrence.message for occurrence in finding.occurrences)]
        for text in texts:
            # A placeholder that was not filled.
            assert re.search(r"\{[a-z_.]+\}", text) is None, text
        for line in finding.root.evidence:
            assert any(name in line.fact for name in BY_NAME), line
            assert line.threshold is not None or not (isinstance(line.value, bool) or line.value in (None, "none")), (
                line
            )
        compile("def fix():\n    pass\n" + textwrap.indent(finding.fix.code, "    "), rule, "exec")


def test_every_pair_belongs_to_a_rule() -> None:
    pairs = {path.parent.name for path in FOLDER.glob("*/*.py")}
    assert pairs == set(ALL)
