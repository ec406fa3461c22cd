"""The same seed twice: are the losses the same? torch is imported inside functions only."""

from __future__ import annotations

import math
import struct
from itertools import islice

from trainaudit.probe.copies import fresh
from trainaudit.probe.experiments.conditions import Conditions, too_slow
from trainaudit.probe.stepping import learner, train
from trainaudit.trace.experiments import RAN, Experiment

_STEPS, _LEAST = 10, 2


def same_seed(conditions: Conditions) -> Experiment:
    """Two fresh copies make the same steps on the same batches from the same seed."""
    trainee, seed = conditions.trainee, conditions.seed
    fitting = conditions.steps_that_fit() // 2
    if fitting < _LEAST:
        return too_slow(2 * _LEAST, 2 * fitting, conditions.allowance.left())
    batches = [trainee.train[number % len(trainee.train)] for number in range(min(_STEPS, fitting))]
    runs = []
    for _ in range(2):
        with fresh(trainee, seed) as model:
            runs.append(train(learner(trainee, model), batches, conditions.allowance))
    pairs = list(zip(*runs, strict=False))  # the time may end one of them sooner
    differences = [_difference(one, other) for one, other in pairs if struct.pack("d", one) != struct.pack("d", other)]
    values: dict[str, float | str | bool] = {
        "is_identical": not differences,
        "largest_difference": max(differences, default=0.0),
        "steps": len(pairs),
    }
    first, second = (tuple(islice(losses, len(pairs))) for losses in runs)
    return Experiment(RAN, values=values, curves={"first": first, "second": second}, seeds=(seed,))


def _difference(one: float, other: float) -> float:
    """Relative to the larger; infinite where one alone is not finite."""
    if not (math.isfinite(one) and math.isfinite(other)):
        return math.inf
    return abs(one - other) / max(abs(one), abs(other), 1e-30)
