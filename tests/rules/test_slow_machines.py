"""A machine that is too slow for a probe makes rules say that they were not run; it never makes them say something else.

The clock is the test's own: each example of a forward pass takes the time that is given, so that the budget cuts batches, steps and experiments at the
same places on every machine.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tests.models.clocks import slowed, stopped_clock  # noqa: E402
from tests.rules.test_rules_of_runs import RULES, probed, spec  # noqa: E402
from trainaudit.measure.dynamic.experiments import experiments_for  # noqa: E402
from trainaudit.probe import making  # noqa: E402
from trainaudit.probing import probe_model  # noqa: E402
from trainaudit.result import Audit, Severity, State  # noqa: E402

BUDGET = 20.0
OVER_TIME = (
    "cannot-overfit-one-batch", "dying-units", "gradient-ascent", "gradient-spikes", "input-ignored", "learning-rate-too-high",
    "learning-rate-too-low", "loss-not-decreasing", "oscillating-loss", "target-broadcast", "train-eval-gap",
)  # fmt: skip
"""Rules on what many steps come to."""


def probed_slowly(rule: str, side: str, seconds: float, patch: pytest.MonkeyPatch) -> Audit:
    """As `probed`, but for the time, `seconds` for each example of a forward pass."""
    clock, make = stopped_clock(patch), making.make_trainee_of
    patch.setattr(making, "make_trainee_of", lambda *given: slowed(make(*given), clock, seconds))
    names = spec(rule, side)
    plan = {"steps": 40, "experiments": experiments_for(RULES[rule].needs) or ("target-shape",)}
    torch.manual_seed(0)
    return probe_model(
        names["build_model"](),
        data=names["make_data"](),
        loss=names["make_loss"](),
        optimizer=names["make_optimizer"],
        **(plan | names.get("PLAN", {}) | {"time_budget": BUDGET}),
    )


def alarms(audit: Audit) -> set[str]:
    return {finding.rule for finding in audit.findings if finding.is_live and finding.severity is not Severity.NOTE}


@pytest.mark.parametrize("seconds", [0.003, 0.02], ids=["three-milliseconds", "twenty"])
@pytest.mark.parametrize("side", ["bad", "good"])
@pytest.mark.parametrize("rule", OVER_TIME)
def test_no_alarm_comes_of_a_machine_that_is_too_slow(
    rule: str, side: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_rest = alarms(probed(rule, side))
    slow = probed_slowly(rule, side, seconds, monkeypatch)
    assert alarms(slow) <= at_rest
    (state,) = [outcome.state for outcome in slow.outcomes if outcome.rule == rule]
    if side == "bad" and rule != "oscillating-loss":  # which batches of half the size do not show
        assert state in (State.VIOLATED, State.NOT_MEASURED), "what there was no time to see is not said to be absent"
