"""An optimizer that says nothing about the user's own: Adam with a rate of its own. torch is imported inside functions only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from trainaudit.probe.budget import Allowance
from trainaudit.probe.copies import fresh
from trainaudit.probe.stepping import Learner, learner, train
from trainaudit.probe.trainee import Batch, Trainee

RATES = (0.1, 0.03, 1e-2, 1e-3, 1e-4)
STEPS = 12
_CHUNK, _LEAST_FALL, _LOWERED, _MOST_LOWERED = 30, 0.003, 0.4, 6


def adam(model: Any, rate: float) -> Any:
    import torch

    return torch.optim.Adam([parameter for parameter in model.parameters() if parameter.requires_grad], lr=rate)


def robust_rate(
    trainee: Trainee, batches: Sequence[Batch], seed: int, allowance: Allowance, *, prepare: Callable[[Any], Any]
) -> float | None:
    """The rate of Adam under which a few steps on `batches`, in turn, leave the smallest loss, of those under which it never doubles: a step that
    large kills rectifiers, and what is left falls to a constant's loss. `prepare(model)` gives a context for each run. None where the time did not
    suffice for all rates: the best of some would be another one on another day."""
    found: dict[float, float] = {}
    turns = [batches[number % len(batches)] for number in range(STEPS)]
    for rate in RATES:
        with fresh(trainee, seed) as model, prepare(model):
            losses = train(learner(trainee, model, adam(model, rate)), turns, allowance)
        end = statistics.median(losses[-3:])
        is_calm = math.isfinite(end) and max(losses) <= losses[0] + abs(losses[0])
        found[rate] = end if is_calm and len(losses) == STEPS else math.inf
        if allowance.is_over():
            return None
    best = min(found, key=lambda rate: found[rate])
    return best if math.isfinite(found[best]) else 1e-3


def descend(ready: Learner, batch: Batch, steps: int, allowance: Allowance, known: float) -> list[float]:
    """The losses of steps on one batch, up to one that is `known` or less. The rate is lowered whenever the loss stands still, so that it stands
    still for want of a way down and not for steps that are too large; after some times that is the end."""
    losses: list[float] = []
    lowered, before = 0, math.inf
    while len(losses) < steps and lowered < _MOST_LOWERED:
        part = train(ready, [batch] * _CHUNK, allowance, is_enough=lambda losses: losses[-1] <= known)
        losses += part
        if len(part) < _CHUNK or part[-1] <= known:
            break
        now = statistics.median(part)
        if not now < before - _LEAST_FALL * abs(before):
            lowered += 1
            for group in ready.optimizer.param_groups:
                group["lr"] *= _LOWERED
        before = now
    return losses
