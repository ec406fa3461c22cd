"""The training run itself: the user's model (a copy), data, loss and optimizer, under the instruments. torch is imported inside functions only."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainaudit.ir.graph import Graph
from trainaudit.probe.batches import take
from trainaudit.probe.budget import Allowance
from trainaudit.probe.copies import fresh
from trainaudit.probe.device import device_name, synchronize
from trainaudit.probe.optimizer_settings import decayed_vector_count, is_adaptive, learning_rate, momentum, weight_decay
from trainaudit.probe.plan import ProbePlan
from trainaudit.probe.run_series import RunSeries
from trainaudit.probe.stepping import Learner, backward, forward, gradient_norm, learner, step, update
from trainaudit.probe.trainee import Trainee
from trainaudit.trace.trace import ActivationSeries, ParameterSeries, ProbeSettings, TrainingRun

Progress = Callable[[str, float], None]
"""Called with the stage's name and the share of it that is done."""

STEPS = 200
_DENSE = 10
"""The first steps are all sampled."""
_WANTED_STEPS = 50
_SMALLEST_BATCH = 8


@dataclass(frozen=True, slots=True)
class Trained:
    """What the run gave. `model` is the copy that was trained, None where it was the user's own (put back since)."""

    run: TrainingRun
    stopped: str
    settings: ProbeSettings
    model: Any = None
    sampled_steps: tuple[int, ...] = ()
    activations: tuple[ActivationSeries, ...] = ()
    parameters: tuple[ParameterSeries, ...] = ()


def is_sampled(number: int, plan: ProbePlan) -> bool:
    return number < _DENSE or number % max(plan.sample_every, 1) == 0


def fitting_batch_size(trainee: Trainee, plan: ProbePlan, allowance: Allowance) -> int:
    """The largest of the batch size, its half, its quarter … of which fifty steps fit, judged by timed steps on a few examples."""
    whole = trainee.train[0].size
    few = take(trainee.train[0], range(min(_SMALLEST_BATCH, whole)))
    with fresh(trainee, plan.seed) as model:
        ready = learner(trainee, model)
        seconds = math.inf
        for _ in range(3):  # the first allocates
            began = time.perf_counter()
            step(ready, few)
            synchronize(trainee.device)
            seconds = min(seconds, time.perf_counter() - began)
            if seconds > allowance.left() / 20:
                break
    size = whole
    while size > _SMALLEST_BATCH and seconds * size / few.size * _WANTED_STEPS > allowance.left():
        size = max(size // 2, _SMALLEST_BATCH)
    return size


def training_run(trainee: Trainee, graph: Graph, plan: ProbePlan, allowance: Allowance, progress: Progress) -> Trained:
    """As many of the planned steps as the allowance has time for. Ends with what was measured so far when the user interrupts it, and at a loss
    or gradient that is not finite, which is then looked for layer by layer."""
    steps = plan.steps or STEPS
    with fresh(trainee, plan.seed) as model:
        ready = learner(trainee, model)
        series = RunSeries(trainee, check_every=1 if trainee.device == "cpu" else max(plan.sample_every, 1))
        stopped = "completed"
        sampled: list[int] = []
        began = time.perf_counter()
        try:
            for number in range(steps):
                if number and allowance.is_over():
                    stopped = "time budget"
                    break
                batch = trainee.train[number % len(trainee.train)]
                rate = learning_rate(ready.optimizer)
                computed = forward(ready, batch)
                backward(ready, computed.loss)
                series.note(computed, rate, gradient_norm(model.parameters()))
                if series.is_non_finite(has_scaler=ready.scaler is not None):
                    stopped = "non-finite"
                    break
                update(ready)
                if is_sampled(number, plan):
                    sampled.append(number)
                    series.note_predictions(ready)
                if number % max(steps // 5, 1) == 0:
                    series.note_validation(number, ready)
                progress("training", (number + 1) / steps)
        except KeyboardInterrupt:
            stopped = "interrupted"
        synchronize(trainee.device)
        seconds = (time.perf_counter() - began) / max(series.steps, 1)
        if stopped in ("completed", "time budget"):
            series.note_validation(series.steps - 1, ready)
        settings = _settings(ready, trainee, plan, steps)
        return Trained(
            series.made(seconds), stopped, settings, None if model is trainee.model else model, tuple(sampled)
        )


def _settings(ready: Learner, trainee: Trainee, plan: ProbePlan, steps: int) -> ProbeSettings:
    optimizer, words = ready.optimizer, trainee.words
    return ProbeSettings(
        evidence="training",
        data=trainee.data,
        data_words=words.get("data", ""),
        loss=trainee.loss,
        loss_words=words.get("loss", ""),
        optimizer=type(optimizer).__name__,
        optimizer_words=words.get("optimizer", ""),
        learning_rate=learning_rate(optimizer),
        momentum=momentum(optimizer),
        weight_decay=weight_decay(optimizer),
        is_adaptive=is_adaptive(optimizer),
        decayed_norm_or_bias_count=decayed_vector_count(optimizer),
        steps=steps,
        batch_size=trainee.train[0].size,
        device=trainee.device,
        device_name=device_name(trainee.device),
        precision=trainee.precision,
        seed=plan.seed,
        repeats=plan.repeats,
        time_budget=plan.time_budget,
        sample_every=plan.sample_every,
    )
