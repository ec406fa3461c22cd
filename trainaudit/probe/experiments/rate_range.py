"""A short learning-rate range test (Smith 2017, arXiv:1506.01186) with the user's optimizer. torch is imported inside functions only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from trainaudit.probe.copies import fresh
from trainaudit.probe.experiments.conditions import Conditions, too_slow
from trainaudit.probe.optimizer_settings import learning_rate, scale_rates
from trainaudit.probe.stepping import learner, precise, step
from trainaudit.probe.trainee import Batch, Trainee
from trainaudit.trace.experiments import CUT, NOT_RUN, RAN, Experiment

_STEPS = 120
"""Always as many: in fewer the rates rise faster, and larger ones pass."""
_LOWEST, _HIGHEST = 1e-6, 10.0
_SMOOTHING = 0.8
"""Weight of the past in the running mean: the last five steps, a fifth of a decade or two."""
_BLOWN_UP = 4.0
_LEAST_FALL = 0.02
_BATCHES = 8
_SHIFT = 10 ** (-1 / 3)


def learning_rate_range(conditions: Conditions) -> Experiment:
    """Rates rise exponentially from step to step, all groups of the optimizer in proportion, until the loss blows up.

    Batches differ in their losses, small ones more than a few steps of training make up for: each step's loss is taken less what the untrained
    model has on the same batch, and on a mean of these.
    """
    trainee, seed = conditions.trainee, conditions.seed
    batches = trainee.train[:_BATCHES]
    fitting = conditions.steps_that_fit() - len(batches) // 2
    if fitting < _STEPS:
        return too_slow(_STEPS, fitting, conditions.allowance.left())
    wanted = [_LOWEST * (_HIGHEST / _LOWEST) ** (number / (_STEPS - 1)) for number in range(_STEPS)]
    untrained = _untrained(trainee, seed, batches)
    start = statistics.fmean(untrained)
    losses: list[float] = []
    with fresh(trainee, seed) as model:
        ready = learner(trainee, model)
        current = learning_rate(ready.optimizer)
        if current is None:
            return Experiment(NOT_RUN, "the optimizer has no learning rate that can be set")
        for number, rate in enumerate(wanted):
            place = number % len(batches)
            scale_rates(ready.optimizer, rate)
            losses.append(step(ready, batches[place]) - untrained[place] + start)
            if conditions.allowance.is_over() or is_blown_up(smoothed(losses)):
                break
    rates = wanted[: len(losses)]
    is_cut = len(losses) < _STEPS and not is_blown_up(smoothed(losses))
    found = {} if is_cut else read(rates, losses)  # larger rates were not tried
    values: dict[str, float | str | bool] = {"current": current, "start_loss": start, **found}
    reason = f"it came to a rate of {rates[-1]:.2g} within its time" if is_cut else ""
    return Experiment(CUT if is_cut else RAN, reason, values, {"rate": tuple(rates), "loss": tuple(losses)}, (seed,))


def _untrained(trainee: Trainee, seed: int, batches: Sequence[Batch]) -> list[float]:
    import torch

    with fresh(trainee, seed) as model, torch.no_grad(), precise(trainee):
        return [float(trainee.compute(model, batch).loss) for batch in batches]


def smoothed(losses: Sequence[float]) -> list[float]:
    """Running mean with exponential weights, unbiased at the start; infinite from the first loss that is not finite."""
    found, mean = [], 0.0
    for number, loss in enumerate(losses, 1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * (loss if math.isfinite(loss) else math.inf)
        found.append(mean / (1 - _SMOOTHING**number))
    return found


def is_blown_up(means: Sequence[float]) -> bool:
    """The smoothed loss is 4 times its smallest value, and well above where it began."""
    return not math.isfinite(means[-1]) or means[-1] > max(_BLOWN_UP * min(means), means[0] + 0.5 * abs(means[0]))


def read(rates: Sequence[float], losses: Sequence[float]) -> dict[str, float]:
    """`suggested`, where the loss falls at all, and `highest_stable`: the last rate before the loss passed 4 times its smallest value (or 4 % of
    where it began, where that is more), or came back to where it began (a network that large steps have killed answers a constant)."""
    means = smoothed(losses)
    end = len(means)
    while end > 1 and is_blown_up(means[:end]):
        end -= 1
    lowest = min(range(end), key=lambda place: means[place])
    fall = means[0] - means[lowest]
    if lowest < 2 or fall < _LEAST_FALL * abs(means[0]):
        return {"highest_stable": rates[end - 1]}
    least = max(means[lowest], 0.01 * abs(means[0]))
    limit = min(max(_BLOWN_UP * least, means[lowest]), means[0] - 0.1 * fall)
    stable = next((place for place in range(lowest + 1, end) if means[place] > limit), end) - 1
    slopes = {
        place: means[place + 1] - means[place - 1]
        for place in range(1, lowest)
        if means[place + 1] < means[0] - 0.05 * fall
    }
    steepest = min(slopes, key=lambda place: slopes[place], default=lowest)
    return {"suggested": rates[steepest] * _SHIFT, "highest_stable": rates[stable]}
