"""`RunSeries`: what each step of the training run gives. torch is imported inside functions only."""

from __future__ import annotations

import math
from typing import Any

from trainaudit.probe.batches import take
from trainaudit.probe.experiments.answers import classes_of, right_share
from trainaudit.probe.stepping import Learner, evaluated
from trainaudit.probe.trainee import Batch, Computed, Trainee
from trainaudit.trace.trace import Series, TrainingRun

_WATCHED = 64
"""Examples of the batch on which predictions are followed."""
_HELD_BATCHES = 4


class RunSeries:
    """Numbers stay on the device as tensors: nothing here waits for it, except `is_non_finite`, and that on accelerators every so many steps."""

    def __init__(self, trainee: Trainee, *, check_every: int) -> None:
        held = (trainee.validation or trainee.train)[0]
        self._trainee = trainee
        self._check_every = check_every
        self._watched: Batch = take(held, range(min(held.size, _WATCHED)))
        self._predicted: Any = None
        self._loss: list[Any] = []
        self._norm: list[Any] = []
        self._rate: list[float | None] = []
        self._accuracy: list[Any] = []
        self._change: list[Any] = []
        self._validation: list[tuple[int, Any]] = []

    @property
    def steps(self) -> int:
        return len(self._loss)

    def note(self, computed: Computed, rate: float | None, norm: Any) -> None:
        self._loss.append(computed.loss.detach())
        self._norm.append(norm)
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

    def is_non_finite(self, *, has_scaler: bool) -> bool:
        """A loss or gradient of the last steps is not. A gradient scaler skips steps whose gradients overflow: those do not count."""
        import torch

        if self.steps % self._check_every:
            return False
        seen = self._loss[-self._check_every :] + ([] if has_scaler else self._norm[-self._check_every :])
        return not all(bool(torch.isfinite(value)) for value in seen)

    def made(self, seconds_per_step: float) -> TrainingRun:
        """Up to the first step with a loss or gradient that is not finite."""
        loss, norm = _read(self._loss), _read(self._norm)
        broken = [place for place, value in enumerate(loss) if value is not None and not math.isfinite(value)]
        end = broken[0] + 1 if broken else len(loss)
        return TrainingRun(
            loss=loss[:end],
            learning_rate=tuple(self._rate[:end]),
            gradient_norm=norm[:end],
            accuracy=_read(self._accuracy)[:end],
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
