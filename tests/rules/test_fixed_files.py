"""Each static rule's bad model, mended in its file: the file passes the checker, runs, and comes out clean of the rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from tests.fix.file.models import notes, run
from tests.rules.test_rules import RULES, script
from trainaudit.auditing import chosen_rules
from trainaudit.fixing import Comparison, Repair, plan_repair, write_repair
from trainaudit.load.target import Target
from trainaudit.settings import Settings

MENDED = tuple(name for name, rule in RULES.items() if rule.fix is not None and rule.fix.recipe)
LEFT = {
    "wrong-loss-for-output": "a matter of training",
    "predicted-exploding-gradient": "no machine can make it",
    "saturated-activation": "no machine can make it",
}
"""Rules whose bad model a file's repair leaves as it is, and why."""


def mended(rule: str, path: Path, out: Path, settings: Settings) -> tuple[Repair, Comparison | None]:
    """The model at `path` repaired at `out`, where there is anything to repair."""
    rules = chosen_rules(settings, probed=False)
    repair = plan_repair(Target(str(path)), settings, rules, unsafe=True, seed=0)
    return repair, write_repair(repair, out, settings, rules) if repair.plan.taken else None


@pytest.mark.parametrize("rule", MENDED)
def test_the_bad_model_is_mended(rule: str, tmp_path: Path) -> None:
    names = script(rule, "bad")
    names["build"](str(tmp_path / "bad.onnx"))
    settings = replace(Settings(), loss=names.get("LOSS"))
    out = tmp_path / "fixed.onnx"
    repair, compared = mended(rule, tmp_path / "bad.onnx", out, settings)
    if rule in LEFT:
        reasons = [reason for finding, reason in repair.reasons if finding.rule == rule]
        assert any(LEFT[rule] in reason for reason in reasons), reasons
        return
    assert rule in {group.rule for group in repair.plan.taken}, repair.reasons
    onnx.checker.check_model(str(out))
    assert compared is not None
    assert rule not in {name for name, _ in compared.left}, [edit.line for edit in repair.plan.made]
    assert compared.new == ()
    try:
        run(tmp_path / "bad.onnx")
    except Exception:  # a pair whose model no runtime takes
        return
    run(out)


def test_most_static_rules_have_a_recipe() -> None:
    assert len(MENDED) > 20
    assert set(LEFT) <= set(MENDED)


def test_what_stands_at_another_place_then_is_mended_in_turns(tmp_path: Path) -> None:
    """A normalization behind the worst layer; of the layers behind it another is the worst then."""
    script("predicted-exploding-signal", "bad")["build"](str(tmp_path / "bad.onnx"))
    out = tmp_path / "fixed.onnx"
    _, compared = mended("predicted-exploding-signal", tmp_path / "bad.onnx", out, Settings())
    assert compared is not None
    assert len(compared.more) > 1
    assert not compared.after.findings
    assert len(notes(out)) == 1 + len(compared.more)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.onnx", "fixed.onnx"]
