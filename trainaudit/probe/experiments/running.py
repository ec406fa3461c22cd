"""All experiments, in the order in which they are run, and how one is run. torch is imported inside functions only."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from trainaudit.probe.copies import is_out_of_memory
from trainaudit.probe.experiments.conditions import Conditions
from trainaudit.probe.experiments.dependence import batch_dependence, time_dependence
from trainaudit.probe.experiments.eval_gap import train_eval_gap
from trainaudit.probe.experiments.initial_loss import loss_at_init
from trainaudit.probe.experiments.input_baseline import input_baseline
from trainaudit.probe.experiments.overfit import overfit_one_batch
from trainaudit.probe.experiments.rate_range import learning_rate_range
from trainaudit.probe.experiments.reproduction import same_seed
from trainaudit.probe.experiments.target_shape import target_shape
from trainaudit.trace.experiments import FAILED, Experiment

EXPERIMENTS: Mapping[str, Callable[[Conditions], Experiment]] = {
    "target-shape": target_shape,
    "loss-at-init": loss_at_init,
    "overfit-one-batch": overfit_one_batch,
    "batch-dependence": batch_dependence,
    "time-dependence": time_dependence,
    "train-eval-gap": train_eval_gap,
    "same-seed": same_seed,
    "learning-rate-range": learning_rate_range,
    "input-baseline": input_baseline,
}
"""In the order of `budget.STAGES`."""


def run_experiment(name: str, conditions: Conditions) -> Experiment:
    """The experiment with its time; one that breaks down says so, and the others go on."""
    began = time.perf_counter()
    try:
        found = EXPERIMENTS[name](conditions)
    except Exception as error:
        found = Experiment(FAILED, told(error))
    return replace(found, seconds=time.perf_counter() - began)


def told(error: Exception) -> str:
    """An error in one clause: "ValueError: too few rows"."""
    if is_out_of_memory(error):
        return "out of memory"
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0][:200].removesuffix('.')}" if said else type(error).__name__
