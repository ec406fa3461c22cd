"""The loss in training mode against that in evaluation mode. torch is imported inside functions only."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from trainaudit.probe.copies import fresh
from trainaudit.probe.experiments.conditions import Conditions, too_slow
from trainaudit.probe.experiments.torch_functions import counted
from trainaudit.probe.stepping import in_mode, precise
from trainaudit.probe.trainee import Batch, Trainee
from trainaudit.trace.experiments import NOT_RUN, RAN, Experiment

_BATCHES = 4


def train_eval_gap(conditions: Conditions) -> Experiment:
    """On the same batches, before the training run and after it; nothing is trained here. Held batches are the validation data's where there
    are any, else the first of the training data."""
    trainee = conditions.trainee
    if conditions.trained is None:
        return Experiment(NOT_RUN, "no trained model is left: the run broke down, or the model cannot be copied")
    fitting = conditions.steps_that_fit()
    if fitting < 2:
        return too_slow(2, fitting, conditions.allowance.left())
    held = (trainee.validation or trainee.train)[: max(1, min(_BATCHES, fitting // 2))]
    values: dict[str, float | str | bool] = {}
    for prefix, model in (("initial_", None), ("", conditions.trained)):
        with fresh(trainee, conditions.seed, model=model) as copy:
            values[f"{prefix}eval_loss"] = _loss(trainee, copy, held, training=False)
            values[f"{prefix}train_loss"] = _loss(trainee, copy, held, training=True)
    with fresh(trainee, conditions.seed) as model, precise(trainee):
        values["dropout_count"], values["batchnorm_count"] = counted(lambda: trainee.compute(model, held[0]))
    return Experiment(RAN, values=values, seeds=(conditions.seed,))


def _loss(trainee: Trainee, model: Any, held: Sequence[Batch], *, training: bool) -> float:
    import torch

    with in_mode(model, training=training), torch.no_grad(), precise(trainee):
        return statistics.fmean(float(trainee.compute(model, batch).loss) for batch in held)
