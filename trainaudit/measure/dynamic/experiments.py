"""Facts that the recipe's experiments give. May import `measure.facts`, `trace` and siblings.

What an experiment could not do is `Unmeasured` with its reason; what does not apply to the model (the accuracy of a regression) is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trainaudit.measure.dynamic.series import divided
from trainaudit.measure.facts import Columns, FactValue, Unmeasured
from trainaudit.trace.experiments import CUT, RAN, Experiment
from trainaudit.trace.trace import Trace

_FACTS: Mapping[str, Mapping[str, str]] = {
    "loss-at-init": {
        "initial_loss": "loss", "expected_initial_loss": "expected", "expected_kind": "expected_kind",
        "logit_std": "logit_std", "bias_gain": "bias_gain", "prior_loss": "prior_loss", "batch_scaling": "batch_scaling",
        "best_constant_loss": "best_constant",
    },
    "overfit-one-batch": {
        "overfit_start_loss": "start_loss", "overfit_loss": "final_loss", "overfit_step_count": "steps",
        "overfit_sample_count": "sample_count", "overfit_floor": "nearest_floor",
        "is_learnt_standardized": "is_learnt_standardized",
    },
    "input-baseline": {"input_effect": "effect", "real_input_loss": "real_loss", "zeroed_input_loss": "zeroed_loss"},
    "batch-dependence": {
        "batch_leak": "leak", "leaking_pair_count": "pair_count", "ignored_input_share": "ignored_input_share",
    },
    "time-dependence": {"future_leak": "future_leak", "is_declared_causal": "is_declared_causal", "first_leak": "first_leak"},
    "learning-rate-range": {"suggested_learning_rate": "suggested", "highest_stable_learning_rate": "highest_stable"},
    "train-eval-gap": {
        "train_mode_loss": "train_loss", "eval_mode_loss": "eval_loss", "batchnorm_count": "batchnorm_count", "dropout_count": "dropout_count",
    },
    "same-seed": {"is_reproducible": "is_identical", "run_difference": "largest_difference"},
    "target-shape": {"is_target_broadcast": "is_broadcast", "output_shape": "output_shape", "target_shape": "target_shape"},
}  # fmt: skip
"""Experiment → fact → name of the value in `trace.experiments.NAMES`."""
_COMPUTED: Mapping[str, tuple[str, ...]] = {
    "loss-at-init": ("initial_loss_excess", "batch_noise"),
    "overfit-one-batch": ("overfit_ratio", "overfit_error_share", "overfit_floor_value", "is_loss_seen"),
    "learning-rate-range": ("stability_ratio",),
    "input-baseline": ("input_loss_gap",),
    "train-eval-gap": ("eval_gap_ratio", "eval_gap"),
}
"""Experiment → facts that are computed from several of its values."""
_ONLY_WHOLE = frozenset({"overfit-one-batch", "input-baseline"})
"""Experiments that say nothing before their end: what was not learnt so far may be learnt yet."""
_COUNTS = frozenset({"overfit_step_count", "overfit_sample_count", "leaking_pair_count", "first_leak", "batchnorm_count", "dropout_count"})  # fmt: skip
_FLOORS = {"double-softmax": "floor_double_softmax", "broadcast": "floor_broadcast", "sigmoid": "floor_sigmoid", "constant": "constant_loss"}  # fmt: skip

_UNSEEN = Unmeasured(
    "the step computes its loss itself and shows no output, so that nobody knows how low it can get: let it return (loss, output)"
)
"""Two players' losses balance far above zero, and so do variational bounds: such a loss that stays high tells nothing."""

Values = Mapping[str, float | str | bool]


def measure_experiments(trace: Trace) -> Columns:
    """Columns of `training.…` for every experiment, run or not."""
    columns: Columns = {}
    for name, wanted in _FACTS.items():
        facts = _facts(name, wanted, trace.experiments.get(name))
        columns |= {f"training.{fact}": {"training": value} for fact, value in facts.items()}
    return columns


def experiments_for(facts: Iterable[str]) -> tuple[str, ...]:
    """The experiments that give some of these facts, in their order."""
    wanted = {fact.removeprefix("training.") for fact in facts}
    return tuple(name for name in _FACTS if wanted & {*_FACTS[name], *_COMPUTED.get(name, ())})


def _facts(name: str, wanted: Mapping[str, str], experiment: Experiment | None) -> dict[str, FactValue]:
    every = (*wanted, *_COMPUTED.get(name, ()))
    if experiment is None or experiment.state not in (RAN, CUT):
        why = f": {experiment.reason}" if experiment is not None and experiment.reason else ""
        how = "broke down" if experiment is not None and experiment.state == "failed" else "was not run"
        return dict.fromkeys(every, Unmeasured(f"the experiment {name} {how}{why}"))
    values = experiment.values
    found: dict[str, FactValue] = {}
    for fact, value in wanted.items():
        if value in values:
            found[fact] = int(values[value]) if fact in _COUNTS else values[value]
    found |= {fact: value for fact, value in _computed(name, values).items() if value is not None}
    if name == "overfit-one-batch":
        found["is_loss_seen"] = True if values.get("is_seen", True) else _UNSEEN
    if experiment.state == CUT and name in _ONLY_WHOLE:
        found = {}
    if experiment.state == CUT:
        missing = Unmeasured(
            f"the experiment {name} was cut short{f': {experiment.reason}' if experiment.reason else ''}"
        )
        found = {fact: found.get(fact, missing) for fact in every}
    return found


def _computed(name: str, values: Values) -> dict[str, float | None]:
    def number(key: str) -> float | None:
        value = values.get(key)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    match name:
        case "loss-at-init":
            loss, expected, spread = number("loss"), number("expected"), number("spread")
            return {
                "initial_loss_excess": None if loss is None or expected is None else loss - expected,
                "batch_noise": divided(spread, loss),
            }
        case "overfit-one-batch":
            forced = number("label_conflict") or 0.0
            before, after = number("start_loss"), number("final_loss")
            floor = number(_FLOORS.get(str(values.get("nearest_floor")), ""))
            ratio = None if before is None or after is None else divided(max(after - forced, 0.0), before - forced)
            ratio = ratio if ratio is None or ratio >= 0.0 else None
            right = number("accuracy")
            wrong = ratio if right is None else 1.0 - right
            return {"overfit_ratio": ratio, "overfit_error_share": wrong, "overfit_floor_value": floor}
        case "input-baseline":
            real, zeroed = number("real_loss"), number("zeroed_loss")
            gap = None if real is None or zeroed is None else divided(abs(zeroed - real), abs(zeroed))
            return {"input_loss_gap": gap}
        case "learning-rate-range":
            return {"stability_ratio": divided(number("current"), number("highest_stable"))}
        case "train-eval-gap":
            after, before = number("eval_loss"), number("train_loss")
            gap = None if after is None or before is None else after - before
            return {"eval_gap_ratio": divided(after, before), "eval_gap": divided(gap, number("initial_train_loss"))}
    return {}
