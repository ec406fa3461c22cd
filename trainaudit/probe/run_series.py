"""`RunSeries`: what each step of the training run gives. torch is imported inside functions only."""

from __future__ import annotations

import math
from typing import Any

from trainaudit.probe.batches import take
from trainaudit.probe.collecting import Readings
from trainaudit.probe.experiments.answers import classes_of, right_share
from trainaudit.probe.stepping import Learner, evaluated
from trainaudit.probe.trainee import Batch, Computed, Trainee
from trainaudit.trace.trace import Series, TrainingRun

_WATCHED = 64
"""Examples of the batch on which predictions are followed."""
_HELD_BATCHES = 4


class RunSeries:
    """Numbers stay on the device as tensors: nothing here waits for it before the end."""

    def __init__(self, trainee: Trainee) -> None:
        held = (trainee.validation or trainee.train)[0]
        self._trainee = trainee
        self._watched: Batch = take(held, range(min(held.size, _WATCHED)))
        self._predicted: Any = None
        self._rate: list[float | None] = []
        self._accuracy: list[Any] = []
        self._change: list[Any] = []
        self._validation: list[tuple[int, Any]] = []

    def note(self, computed: Computed, rate: float | None) -> None:
        self._rate.append(rate)
        share = right_share(self._trainee.loss, computed)
        if share is not None:
            self._accuracy.append(share)

    def note_predictions(self, ready: Learner) -> None:
        """Compares the predicted classes of a fixed batch with those of the last time."""
        computed = evaluated(ready, self._watched)
        found = classes_of(self._trainee.loss, computed.output, computed.target)
        if found is None:
            return
        before = self._predicted
        self._change.append(None if before is None else (found != before).float().mean())
        self._predicted = found

    def note_validation(self, number: int, ready: Learner) -> None:
        held = self._trainee.validation[:_HELD_BATCHES]
        if held:
            losses = [evaluated(ready, batch).loss.detach() for batch in held]
            self._validation.append((number, sum(losses) / len(losses)))

    def made(self, readings: Readings, seconds_per_step: float) -> TrainingRun:
        """With the losses and gradients that the instruments read, up to the first loss that is not finite. A step that was read twice is its last."""
        finite = [value is None or math.isfinite(value) for value in readings.loss]
        end = min(finite.index(False) + 1 if False in finite else len(finite), len(self._rate))
        return TrainingRun(
            loss=readings.loss[:end],
            learning_rate=tuple(self._rate[:end]),
            gradient_norm=readings.gradient_norm[:end],
            accuracy=_read(self._accuracy)[:end],
            update_alignment=readings.update_alignment,
            prediction_change=_read(self._change),
            validation_loss=tuple((number, float(value)) for number, value in self._validation),
            seconds_per_step=seconds_per_step,
        )


def _read(values: list[Any]) -> Series:
    """One transfer for a whole series."""
    import torch

    there = [value for value in values if value is not None]
    if not there:
        return tuple(None for _ in values)
    numbers = iter(torch.stack([value.float() for value in there]).tolist())
    return tuple(None if value is None else next(numbers) for value in values)
