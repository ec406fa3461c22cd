"""The training run itself: the user's model (a copy), data, loss and optimizer, under the instruments. torch is imported inside functions only."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from trainaudit.ir.graph import Graph
from trainaudit.probe.batches import cloned, take, versions
from trainaudit.probe.budget import TRAINING, Allowance
from trainaudit.probe.copies import fresh, is_out_of_memory
from trainaudit.probe.device import device_name, synchronize
from trainaudit.probe.optimizer_settings import decayed_vector_count, is_adaptive, learning_rate, momentum, weight_decay
from trainaudit.probe.plan import ProbePlan
from trainaudit.probe.run_series import RunSeries
from trainaudit.probe.stepping import Learner, backward, forward, learner, precise, step, types_computed_in, update
from trainaudit.probe.trainee import Batch, Computed, Trainee
from trainaudit.trace.trace import ActivationSeries, NonFinite, ParameterSeries, ProbeSettings, TrainingRun

Progress = Callable[[str, float], None]
"""Called with the stage's name and the share of it that is done."""

STEPS = 200
_WANTED_STEPS = 50
_NOISE_READINGS = 4
"""How often in a run the gradients of parts of a batch are compared: each time costs about a step."""
_SMALLEST_BATCH = 8


@dataclass(frozen=True, slots=True)
class Trained:
    """What the run gave. `model` is the copy that was trained, None where it was the user's own (put back since)."""

    run: TrainingRun
    stopped: str
    settings: ProbeSettings
    step_seconds: float = 0.0
    """Of a usual step: one that the instruments do not read, where there are enough of them."""
    model: Any = None
    sampled_steps: tuple[int, ...] = ()
    activations: tuple[ActivationSeries, ...] = ()
    parameters: tuple[ParameterSeries, ...] = ()


def takes_fewer(trainee: Trainee, plan: ProbePlan) -> bool:
    """The model runs on a part of a batch too, or on twice a batch that is too small to be parted. An ONNX file may fix the size of its batches."""
    import torch

    whole = trainee.train[0]
    count = min(_SMALLEST_BATCH, whole.size - 1)
    other = take(whole, range(count) if count > 1 else [*range(whole.size)] * 2)
    if other is whole:
        return True  # there is no way to cut it
    with fresh(trainee, plan.seed) as model, torch.no_grad(), precise(trainee):
        try:
            trainee.compute(model, other)
        except Exception as error:
            return is_out_of_memory(error)
    return True


def with_own_inputs(trainee: Trainee, plan: ProbePlan) -> Trainee:
    """A model that writes to its inputs (`x /= 255` in forward) gets copies of the batches, which are used again and again; others get them as
    they are."""
    import torch

    first = trainee.train[0]
    tried = cloned(take(first, range(min(_SMALLEST_BATCH, first.size))))
    before = versions(tried)
    with fresh(trainee, plan.seed) as model, torch.no_grad(), precise(trainee):
        trainee.compute(model, tried)
    if versions(tried) == before:
        return trainee
    return replace(trainee, compute=lambda model, batch: trainee.compute(model, cloned(batch)))


def fitting_batch_size(trainee: Trainee, plan: ProbePlan, allowance: Allowance) -> int:
    """The largest of the batch size, its half, its quarter … of which fifty steps fit, judged by timed steps: on a few examples, and of sizes for
    which these promise too much on as many, since not all that a step does grows with its batch."""
    first = trainee.train[0]
    whole, few = first.size, take(first, range(min(_SMALLEST_BATCH, first.size)))
    if few.size == whole:
        return whole
    with fresh(trainee, plan.seed) as model:
        ready = learner(trainee, model)
        each = _seconds(ready, few, allowance) / few.size
        size = whole
        while size > _SMALLEST_BATCH and each * size * _WANTED_STEPS > allowance.left():
            is_soon_tried = each * size < allowance.left() / 20
            if (
                is_soon_tried
                and _seconds(ready, take(first, range(size)), allowance) * _WANTED_STEPS <= allowance.left()
            ):
                break
            size = max(size // 2, _SMALLEST_BATCH)
    return size


def _seconds(ready: Learner, batch: Batch, allowance: Allowance) -> float:
    """The quickest of three steps, of which the first allocates; of fewer where they take long."""
    seconds = math.inf
    for _ in range(3):
        began = time.perf_counter()
        step(ready, batch)
        synchronize(ready.device)
        seconds = min(seconds, time.perf_counter() - began)
        if seconds > allowance.left() / 20:
            break
    return seconds


def training_run(
    trainee: Trainee, graph: Graph | None, plan: ProbePlan, allowance: Allowance, progress: Progress
) -> Trained:
    """As many of the planned steps as the allowance has time for. Ends with what was measured so far when the user interrupts it, and at a loss
    or gradient that is not finite: that step is computed once more under the instruments, which say where it arose."""
    import torch

    from trainaudit.probe.instruments import Instruments
    from trainaudit.probe.localise import localise

    steps = plan.steps or STEPS
    with fresh(trainee, plan.seed) as model:
        ready = learner(trainee, model)
        series = RunSeries(trainee)
        stopped, arose = "completed", None
        number, began = 0, time.perf_counter()
        ends = [began]
        with Instruments(model, ready.optimizer, graph, sample_every=plan.sample_every) as instruments:
            try:
                for number in range(steps):
                    batch = trainee.train[number % len(trainee.train)]
                    is_last = number + 1 == steps or _is_last(allowance, began, number)
                    if instruments.is_sampled(number) and number % max(steps // _NOISE_READINGS, 1) == 0:
                        instruments.read_noise(number, lambda _, part: forward(ready, part), batch)
                    drawn = torch.get_rng_state()
                    with instruments.step(number, last=is_last):
                        rate = learning_rate(ready.optimizer)
                        series.note(_read_step(ready, instruments, batch), rate)
                        if is_last:
                            synchronize(trainee.device)  # after it no step is left to be told in
                        is_broken = any(_is_non_finite(ready, *seen) for seen in instruments.guard)
                        if not is_broken:
                            update(ready)
                    if is_broken:
                        if not (is_last or instruments.is_sampled(number)):
                            torch.set_rng_state(drawn)
                            with instruments.step(number, last=True):
                                _read_step(ready, instruments, batch)
                        torch.set_rng_state(drawn)
                        arose = localise(model, lambda _, same: forward(ready, same), batch, graph, number)
                        break
                    ends.append(time.perf_counter())
                    if is_last or instruments.is_sampled(number):
                        series.note_predictions(ready)
                    if is_last or number % max(steps // 5, 1) == 0:
                        series.note_validation(number, ready)
                    progress(TRAINING, (number + 1) / steps)
                    if is_last:
                        stopped = "completed" if number + 1 == steps else "time budget"
                        break
            except KeyboardInterrupt:
                stopped = "interrupted"
            synchronize(trainee.device)
            seconds = (time.perf_counter() - began) / (number + 1)
            readings = instruments.collect()
        broken = next(
            (
                place
                for place, seen in enumerate(zip(readings.loss, readings.gradient_norm, strict=True))
                if _is_non_finite(ready, place, *seen)
            ),
            None,
        )
        if broken is not None and readings.sampled_steps[-1:] != (broken,) and steps != broken + 1:
            # an accelerator told of it steps later, when the weights were broken too
            return training_run(trainee, graph, replace(plan, steps=broken + 1), allowance, progress)
        run = series.made(readings, seconds)
        if broken is not None:
            kind = "loss" if not math.isfinite(readings.loss[broken] or 0.0) else "gradient"
            stopped, run = (
                "non-finite",
                replace(run, first_non_finite=arose or NonFinite(broken, kind, "loss")),
            )
        return Trained(
            run=run,
            stopped=stopped,
            settings=settings_of(ready, trainee, plan),
            step_seconds=statistics.median(after - before for before, after in pairwise(ends))
            if len(ends) > 1
            else seconds,
            model=None if model is trainee.model else model,
            sampled_steps=readings.sampled_steps,
            activations=readings.activations,
            parameters=readings.parameters,
        )


def _read_step(ready: Learner, instruments: Any, batch: Batch) -> Computed:
    """Everything of a step but the update."""
    computed = forward(ready, batch)
    backward(ready, computed.loss)
    instruments.read_gradients(computed.loss)
    return computed


def _is_last(allowance: Allowance, began: float, made: int) -> bool:
    """Another step would end beyond the allowance, should it take as long as those that were made."""
    return allowance.left() < 2 * (time.perf_counter() - began) / made if made else allowance.is_over()


def _is_non_finite(ready: Learner, _number: int, loss: float | None, norm: float | None) -> bool:
    """A gradient scaler skips steps whose gradients overflow: those do not count."""
    is_checked = norm is not None and ready.scaler is None
    return (loss is not None and not math.isfinite(loss)) or (is_checked and not math.isfinite(norm or 0.0))


def settings_of(ready: Learner, trainee: Trainee, plan: ProbePlan) -> ProbeSettings:
    """What is run, with the settings of its optimizer."""
    optimizer, words = ready.optimizer, trainee.words
    return ProbeSettings(
        evidence="training",
        data=trainee.data,
        data_words=words.get("data", ""),
        loss=trainee.loss,
        loss_words=words.get("loss", ""),
        is_loss_inferred=trainee.is_loss_inferred,
        optimizer=type(optimizer).__name__,
        optimizer_words=words.get("optimizer", ""),
        learning_rate=learning_rate(optimizer),
        momentum=momentum(optimizer),
        weight_decay=weight_decay(optimizer),
        is_adaptive=is_adaptive(optimizer),
        decayed_norm_or_bias_count=decayed_vector_count(optimizer),
        steps=plan.steps or STEPS,
        batch_size=trainee.train[0].size,
        device=trainee.device,
        device_name=device_name(trainee.device),
        precision=types_computed_in(trainee),
        seed=plan.seed,
        repeats=plan.repeats,
        time_budget=plan.time_budget,
        sample_every=plan.sample_every,
    )
