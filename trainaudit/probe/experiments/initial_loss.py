"""The loss of the untrained model against what its loss and its data predict. torch is imported inside functions only."""

from __future__ import annotations

import math
import statistics
from typing import Any

from trainaudit.probe.batches import take
from trainaudit.probe.copies import fresh
from trainaudit.probe.experiments.answers import best_constant, joined, knows_nothing, numbers
from trainaudit.probe.experiments.conditions import Conditions, too_slow
from trainaudit.probe.experiments.constant_answers import (
    Answered,
    best_bias,
    is_faithful,
    loss_of,
    uninformed,
)
from trainaudit.probe.experiments.floors import scale_of
from trainaudit.probe.losses import CLASSIFYING, TWO_VALUED, class_axis
from trainaudit.probe.stepping import in_mode, precise
from trainaudit.probe.trainee import Batch, Computed, Trainee
from trainaudit.trace.experiments import RAN, Experiment

Values = dict[str, float | str | bool]
_BATCHES = 16
_MOST_ELEMENTS = 20_000_000
"""Of all outputs together on which the bias is searched: seconds on a CPU."""


def loss_at_init(conditions: Conditions) -> Experiment:
    """Losses in training mode, as the first steps will see them, of the untrained model: over batches, and over seeds of its dropout."""
    trainee, seeds = conditions.trainee, conditions.seeds()
    fitting = int(3 * conditions.passes_that_fit(share=0.5))  # a forward pass is about a third of a step
    if fitting < 1:
        return too_slow(1, 0, conditions.allowance.left())
    batches = trainee.train[: max(1, min(_BATCHES, fitting // len(seeds)))]
    every: list[float] = []
    done = 0
    for seed in seeds:
        with fresh(trainee, seed) as model:
            computed = _computed(trainee, model, batches)
        losses = [float(one.loss) for one in computed]
        every += losses
        done += 1
        if conditions.allowance.is_over():
            break
    values: Values = {
        "loss": statistics.fmean(every),
        "spread": statistics.pstdev(every) if math.isfinite(sum(every)) else math.nan,
    }
    values |= _answers(trainee, batches, computed, losses)
    with fresh(trainee, conditions.seed) as model:
        values |= _scaling(trainee, model, batches[0])
    return Experiment(RAN, values=values, curves={"losses": tuple(every)}, seeds=seeds[:done])


def _computed(trainee: Trainee, model: Any, batches: tuple[Batch, ...]) -> list[Computed]:
    import torch

    with torch.no_grad(), precise(trainee):
        return [trainee.compute(model, batch) for batch in batches]


def _answers(trainee: Trainee, batches: tuple[Batch, ...], computed: list[Computed], losses: list[float]) -> Values:
    """What is said of the outputs and by the targets. Constants go through the user's own loss where they can (so that its reduction and weights
    count), and stand on closed forms otherwise."""
    import torch

    values: Values = {}
    output, target = joined(computed)
    if output is None:
        return values
    values["logit_std"] = float(numbers(output).std(unbiased=False))
    if target is None:
        return values
    if trainee.loss in CLASSIFYING:
        values["class_count"] = int(output.shape[class_axis(output, target)])
    elif trainee.loss in TWO_VALUED:
        values["class_count"] = 2
    closed, nothing = (
        best_constant(trainee.loss, *_all_targets(trainee, output, target)),
        knows_nothing(trainee.loss, output, target),
    )
    if closed is not None:
        own = best_constant(trainee.loss, computed[0].output, computed[0].target)
        values["best_constant"] = closed * scale_of(trainee, batches[0], computed[0], own)
    answered = [(batch, one.output.detach()) for batch, one in zip(batches, computed, strict=True)]
    if not is_faithful(trainee, answered, losses):
        if nothing is not None:
            values["expected"], values["expected_kind"] = nothing
        return values
    with torch.no_grad():
        if uninformed(trainee.loss, answered[0][1]) is not None:
            values["expected"] = _mean(trainee, [(batch, uninformed(trainee.loss, out)) for batch, out in answered])
            values["expected_kind"] = "uniform-classes"
        elif "best_constant" in values:
            values["expected"], values["expected_kind"] = values["best_constant"], "target-variance"
    return values | _prior(trainee, answered, losses)


def _all_targets(trainee: Trainee, output: Any, target: Any) -> tuple[Any, Any]:
    """Those of all batches that were read, which cost no forward pass, with an output of as many examples; those given where shapes differ."""
    import torch

    try:
        every = torch.cat([batch.target for batch in trainee.train])
    except (RuntimeError, TypeError):
        return output, target
    if every.shape[1:] != target.shape[1:] or target.shape[0] != output.shape[0]:
        return output, target
    return output[:1].expand(every.shape[0], *output.shape[1:]), every


def _mean(trainee: Trainee, answered: Answered) -> float:
    return statistics.fmean(float(loss_of(trainee, batch, output)) for batch, output in answered)


def _prior(trainee: Trainee, answered: Answered, losses: list[float]) -> Values:
    """The best output bias, found on one half of the batches and judged on the other, and the other way round: on a few examples a bias would
    else fit their chance frequencies. A batch that is alone is cut in two."""
    size = answered[0][1].numel()
    answered = answered[: max(_MOST_ELEMENTS // max(size, 1), 0)]
    if not answered or not all(math.isfinite(loss) for loss in losses):
        return {}
    if len(answered) == 1:
        answered = _halves(*answered[0]) or answered
    one, other = answered[::2], answered[1::2]
    found = (
        [best_bias(trainee, fitted, judged) for fitted, judged in ((one, other), (other, one))]
        if other
        else [best_bias(trainee, one, one)]
    )
    plain = statistics.fmean(_mean(trainee, part) for part in (one, other) if part)
    if any(value is None for value in found) or plain <= 0:
        return {}
    prior = min(statistics.fmean(value for value in found if value is not None), plain)  # no bias is one too
    return {"prior_loss": prior, "bias_gain": 1 - prior / plain}


def _halves(batch: Batch, output: Any) -> list[tuple[Batch, Any]]:
    half = batch.size // 2
    parts = [take(batch, range(half)), take(batch, range(half, 2 * half))]
    if half < 2 or any(part.size != half for part in parts) or output.shape[0] != batch.size:
        return []
    return [(parts[0], output[:half]), (parts[1], output[half : 2 * half])]


def _scaling(trainee: Trainee, model: Any, batch: Batch) -> Values:
    """In evaluation mode, in which the same examples give the same outputs."""
    twice = take(batch, [*range(batch.size), *range(batch.size)])
    if twice is batch:
        return {}
    with in_mode(model, training=False):
        once, doubled = (float(one.loss) for one in _computed(trainee, model, (batch, twice)))
    if not (math.isfinite(once) and math.isfinite(doubled)) or once * doubled <= 0:
        return {}
    return {"batch_scaling": math.log2(doubled / once)}
