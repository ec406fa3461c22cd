"""`Course`: one short training of a trainee from one seed, and what it came to. torch is imported inside functions only."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trainaudit.fix.answers import errors_of
from trainaudit.probe.budget import Allowance
from trainaudit.probe.copies import fresh
from trainaudit.probe.experiments.overfit import prepared
from trainaudit.probe.stepping import Learner, backward, forward, learner, step, update
from trainaudit.probe.trainee import Batch, Trainee

_EXAMPLES = 512
"""Examples that the trained model is evaluated on, where the probe has as many."""
_READ_BATCHES = 4


class CutError(Exception):
    """The time was over before the steps were made."""


@dataclass(frozen=True, slots=True)
class Course:
    """`start` is the loss of the first step, `loss`, `wrong` and `error` are those of the trained model on a fixed part of the training data, without
    dropout: the user's loss, the share of wrong classes and the squared error over the targets' variance, None where there is none."""

    start: float
    loss: float
    wrong: float | None = None
    error: float | None = None
    examples: int = 0
    gradient_ratio: float | None = None
    """Rms of the first weight's gradient over that of the last, at the first step."""
    dead_share: float | None = None
    """Of the rectifier with the most of them: share of units that are 0 on all samples that were read at the end."""
    seconds: float = 0.0

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss)


def train_course(trainee: Trainee, seed: int, steps: int, allowance: Allowance) -> Course:
    """Exactly `steps` steps on the trainee's batches, in an order that the seed decides. Raises `CutError` where the allowance ends before them."""
    began = time.perf_counter()
    with fresh(trainee, seed) as model:
        ready = learner(trainee, model)
        turns = _turns(trainee.train, steps, seed)
        start, ratio = _first_step(ready, turns[0])
        losses = [start, *_losses(ready, turns[1:], allowance)] if math.isfinite(start) else [start]
        if not math.isfinite(losses[-1]):
            return Course(start, math.inf, 1.0, math.inf, gradient_ratio=ratio, seconds=time.perf_counter() - began)
        held = _held(trainee.train)
        with prepared(trainee, model, held[0]):
            loss, wrong, error, examples = _evaluated(ready, trainee, held, allowance)
        dead = _dead_share(ready, held[:_READ_BATCHES])
    return Course(start, loss, wrong, error, examples, ratio, dead, time.perf_counter() - began)


def _turns(batches: Sequence[Batch], steps: int, seed: int) -> list[Batch]:
    """Passes over the batches, each in an order of its own that only the seed decides."""
    order = random.Random(seed)
    turns: list[Batch] = []
    while len(turns) < steps:
        turns += order.sample(batches, len(batches))
    return turns[:steps]


def _held(batches: Sequence[Batch]) -> list[Batch]:
    """The first batches, with as many examples as are wanted."""
    count = 0
    for place, batch in enumerate(batches, 1):
        count += batch.size
        if count >= _EXAMPLES:
            return list(batches[:place])
    return list(batches)


def _evaluated(
    ready: Learner, trainee: Trainee, batches: Sequence[Batch], allowance: Allowance
) -> tuple[float, float | None, float | None, int]:
    """In training mode: the running statistics of a batch normalization are not those of the data after so few steps."""
    import torch

    losses, sizes, outputs, targets = [], [], [], []
    with torch.no_grad():
        for batch in batches:
            if allowance.is_over():
                raise CutError
            computed = forward(ready, batch)
            losses.append(float(computed.loss))
            sizes.append(max(batch.size, 1))
            outputs.append(computed.output)
            targets.append(computed.target)
    count = sum(sizes)
    loss = sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / count
    if not math.isfinite(loss):
        return math.inf, 1.0, math.inf, count
    return loss, *errors_of(trainee.loss, outputs, targets), count


def _losses(ready: Learner, turns: Sequence[Batch], allowance: Allowance) -> Iterator[float]:
    """Of each step; the last one is not finite where that ended the run."""
    for batch in turns:
        if allowance.is_over():
            raise CutError
        loss = step(ready, batch)
        yield loss
        if not math.isfinite(loss):
            return


def _first_step(ready: Learner, batch: Batch) -> tuple[float, float | None]:
    """Its loss, and the rms of the first weight's gradient over that of the last, in the order in which the module holds them."""
    loss = forward(ready, batch).loss
    start = float(loss.detach())
    if not math.isfinite(start):
        return start, None
    backward(ready, loss)
    weights = [item for item in ready.model.parameters() if item.ndim >= 2 and item.grad is not None]
    found = [float(item.grad.float().pow(2).mean().sqrt()) for item in weights if not item.grad.is_sparse]
    update(ready)
    return start, found[0] / found[-1] if len(found) > 1 and found[-1] > 0 else None


def _dead_share(ready: Learner, batches: Sequence[Batch]) -> float | None:
    from trainaudit.probe.instruments import Instruments

    with Instruments(ready.model) as instruments:
        for number, batch in enumerate(batches):
            with instruments.step(number, last=number + 1 == len(batches)):
                loss = forward(ready, batch).loss
                backward(ready, loss)
                instruments.read_gradients(loss)
        found: list[Any] = [series.silent_share for series in instruments.collect().activations]
    return max((share for share in found if share is not None), default=None)
