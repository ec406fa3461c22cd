"""Does the model learn more from its inputs than from zeros? torch is imported inside functions only."""

from __future__ import annotations

import math
import random
import statistics
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from trainaudit.counting import count as counted
from trainaudit.probe.batches import gathered, inputs, split, take, zeroed
from trainaudit.probe.copies import fresh
from trainaudit.probe.experiments.conditions import Conditions, too_slow
from trainaudit.probe.experiments.floors import mean_constant
from trainaudit.probe.experiments.robust import adam, robust_rate
from trainaudit.probe.stepping import learner, train
from trainaudit.probe.trainee import Batch, Trainee
from trainaudit.trace.experiments import CUT, FAILED, NOT_RUN, RAN, Experiment

_BATCHES, _EXAMPLES, _LEAST_EXAMPLES = 4, 32, 8
_STEPS, _FAIR_STEPS, _LEAST_STEPS = 200, 60, 20
_LEAST_SPREAD = 1e-3
"""Of the larger loss: spread below it counts as it, since two runs without any noise would differ by infinitely many standard deviations."""


def input_baseline(conditions: Conditions) -> Experiment:
    """The same few batches learned with their inputs and with zeros, from the same seeds (of dropout, and of the batches' order), with Adam at a
    rate of its own. A few batches again and again, so that a model that reads its inputs can tell them apart, whatever the targets are."""
    trainee, seeds = conditions.trainee, conditions.seeds()
    real = _few(trainee)
    if not inputs(real[0]):
        return Experiment(NOT_RUN, "the user's step hides which part of a batch is the input")
    zeros = [zeroed(batch) for batch in real]
    rate = (
        conditions.earlier["overfit-one-batch"].values.get("own_rate")
        if "overfit-one-batch" in conditions.earlier
        else None
    )
    fitting = conditions.steps_that_fit(examples=real[0].size)
    while len(seeds) > 2 and fitting < 2 * len(seeds) * _FAIR_STEPS:
        seeds = seeds[:-1]
    steps = min(_STEPS, fitting // (2 * len(seeds)))
    if steps < _LEAST_STEPS:
        return too_slow(2 * len(seeds) * _LEAST_STEPS, fitting, conditions.allowance.left())
    if rate is None:
        rate = robust_rate(trainee, real, conditions.seed, conditions.allowance.share(0.5), prepare=_nothing)
    if rate is None:
        return Experiment(CUT, "the time budget ended it before it had found a learning rate")
    losses: dict[str, list[float]] = {"real": [], "zeroed": []}
    curves: dict[str, tuple[float | None, ...]] = {}
    for seed in seeds:
        for name, batches in (("real", real), ("zeroed", zeros)):
            with fresh(trainee, seed) as model:
                ready = learner(trainee, model, adam(model, float(rate)))
                run = train(ready, _turns(batches, steps, seed), conditions.allowance)
            curves[f"{name} {seed}"] = tuple(run)
            losses[name].append(statistics.fmean(run[-max(len(run) // 4, 1) :]))
        if conditions.allowance.is_over():
            break
    for name, found in losses.items():
        if not all(math.isfinite(loss) for loss in found):
            return Experiment(
                FAILED, f"training on {name} inputs gave a loss that is not finite", curves=curves, seeds=seeds
            )
    made = min(map(len, curves.values()))
    values = _compared(losses["real"], losses["zeroed"]) | {"steps": made} | _constant(conditions, real)
    is_cut = made < _STEPS or len(losses["zeroed"]) < len(conditions.seeds())
    reason = (
        f"{counted(len(losses['zeroed']), 'time')} {counted(made, 'step')} on each fitted into the time budget, too few to tell what is learnt slowly from what is not"
        if is_cut
        else ""
    )
    return Experiment(CUT if is_cut else RAN, reason, values, curves, seeds[: len(losses["zeroed"])])


def _constant(conditions: Conditions, batches: list[Batch]) -> dict[str, float]:
    """What a model that ignores its inputs comes down to."""
    trainee = conditions.trainee
    with fresh(trainee, conditions.seed) as model:
        return mean_constant(trainee, model, batches)


def _few(trainee: Trainee) -> list[Batch]:
    """Some batches of some examples; the examples of very small batches together."""
    whole = gathered(trainee.train, _BATCHES * _LEAST_EXAMPLES)
    if trainee.train[0].size < _LEAST_EXAMPLES < whole.size:
        return list(split(whole, _LEAST_EXAMPLES))
    return [take(batch, range(min(batch.size, _EXAMPLES))) for batch in trainee.train[:_BATCHES]]


def _compared(real: list[float], zeros: list[float]) -> dict[str, float | str | bool]:
    means = {"real_loss": statistics.fmean(real), "zeroed_loss": statistics.fmean(zeros)}
    spreads = {"real_std": 0.0, "zeroed_std": 0.0}
    if len(real) > 1:
        spreads = {"real_std": statistics.stdev(real), "zeroed_std": statistics.stdev(zeros)}
    pooled = math.hypot(*spreads.values())
    least = _LEAST_SPREAD * max(map(abs, means.values()))
    effect = (means["zeroed_loss"] - means["real_loss"]) / max(pooled, least, 1e-12)
    return {**means, **spreads, "effect": effect}


def _turns(batches: list[Batch], steps: int, seed: int) -> list[Batch]:
    """Passes over the batches, each in an order of its own that only the seed decides."""
    order = random.Random(seed)
    turns: list[Batch] = []
    while len(turns) < steps:
        turns += order.sample(batches, len(batches))
    return turns[:steps]


def _nothing(_model: Any) -> AbstractContextManager[Any]:
    return nullcontext()
