"""Recipes on the models that rules find fault with: they say what to change there, and it can be made on a copy, which then trains."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tests.rules.test_rules import RULES as STATIC  # noqa: E402
from tests.rules.test_rules import script  # noqa: E402
from tests.rules.test_rules_of_runs import RULES as RUNS  # noqa: E402
from tests.rules.test_rules_of_runs import probed, spec  # noqa: E402
from trainaudit.auditing import chosen_rules, judge_measured, open_and_measure  # noqa: E402
from trainaudit.changes import Change  # noqa: E402
from trainaudit.fix.module.applying import apply  # noqa: E402
from trainaudit.ir.graph import Graph  # noqa: E402
from trainaudit.load.target import Target  # noqa: E402
from trainaudit.load.torch.opening import open_object  # noqa: E402
from trainaudit.probe.copies import fresh  # noqa: E402
from trainaudit.probe.making import make_trainee, make_trainee_of  # noqa: E402
from trainaudit.probe.plan import ProbePlan  # noqa: E402
from trainaudit.probe.stepping import learner, step  # noqa: E402
from trainaudit.probe.trainee import Trainee  # noqa: E402
from trainaudit.probe.user_objects import Spec  # noqa: E402
from trainaudit.result import Audit  # noqa: E402
from trainaudit.settings import Settings  # noqa: E402

WITHOUT = {
    "saturated-activation": "a normalization stands before it already",
    "predicted-exploding-gradient": "all layers are normalized already",
    "clipped-loss": "no loss on logits goes with a loss of the user's own",
    "loss-not-decreasing": "the range test is not run",
    "cannot-overfit-one-batch": "the range test is not run",
}
"""Rules whose bad model leaves a machine nothing to change, and why."""


BROKEN = {"diverged"}
"""Rules whose bad model is NaN at its first step, which is another fault than the rate: there the change is made, and that is all."""


def with_recipe(rules: Any) -> list[str]:
    return [name for name, rule in rules.items() if rule.fix is not None and rule.fix.recipe]


def changes_in(audit: Audit, rule: str) -> tuple[Change, ...]:
    """Of all occurrences of the rule's findings, each once."""
    findings = [finding for finding in audit.findings if finding.rule == rule]
    return tuple(dict.fromkeys(change for finding in findings for one in finding.occurrences for change in one.changes))


def check(trainee: Trainee, graph: Graph, changes: tuple[Change, ...], *, is_broken: bool = False) -> None:
    """The changes are made, and a copy makes a step."""
    made = apply(trainee, graph, changes)
    with fresh(made, 0) as model:
        loss = step(learner(made, model), made.train[0])
    assert math.isfinite(loss) is not is_broken


@pytest.mark.parametrize("rule", with_recipe(STATIC))
def test_a_file_is_mended_as_the_recipe_says(rule: str, tmp_path: Path) -> None:
    names = script(rule, "bad")
    target = Target(str(tmp_path / "bad.onnx"))
    names["build"](target.spec)
    settings = replace(Settings(), loss=names.get("LOSS"))
    graph, measured = open_and_measure(target, settings, detail=False)
    audit = judge_measured(measured, settings, chosen_rules(settings), detail=False).audit
    changes = changes_in(audit, rule)
    assert bool(changes) == (rule not in WITHOUT)
    if changes:
        check(make_trainee(target, ProbePlan(loss=names.get("LOSS") or "", batch_size=8), graph), graph, changes)


@pytest.mark.parametrize("rule", with_recipe(RUNS))
def test_a_run_is_mended_as_the_recipe_says(rule: str) -> None:
    names, changes = spec(rule, "bad"), changes_in(probed(rule, "bad"), rule)
    assert bool(changes) == (rule not in WITHOUT)
    if not changes:
        return
    torch.manual_seed(0)
    model, data = names["build_model"](), names["make_data"]()
    objects = Spec(
        "a spec", make_data=lambda: data, make_loss=names["make_loss"](), make_optimizer=names["make_optimizer"]
    )
    first = next(iter(data))[0]
    graph = open_object(model, first, (), type(model).__name__)
    check(make_trainee_of(model, None, ProbePlan(), graph, objects), graph, changes, is_broken=rule in BROKEN)
