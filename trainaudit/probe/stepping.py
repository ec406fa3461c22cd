"""A training step in its parts, in the precision that was asked for. torch is imported inside functions only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from trainaudit.probe.budget import Allowance
from trainaudit.probe.trainee import Batch, Computed, Trainee

_SHORT = {"float64": "fp64", "float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


@dataclass(frozen=True, slots=True)
class Learner:
    """A model in training. `scaler` is torch's GradScaler for float16, None otherwise."""

    model: Any
    optimizer: Any
    compute: Callable[[Any, Batch], Computed]
    device: str = "cpu"
    precision: str = "fp32"
    scaler: Any = None


def learner(trainee: Trainee, model: Any, optimizer: Any = None) -> Learner:
    """`optimizer`: the user's own where it is None."""
    import torch

    made = trainee.make_optimizer(model) if optimizer is None else optimizer
    kind = trainee.device.split(":")[0]
    scaler = torch.amp.GradScaler(kind) if trainee.precision == "fp16" else None
    return Learner(model, made, trainee.compute, kind, trainee.precision, scaler)


def types_computed_in(trainee: Trainee) -> str:
    """The precision that was asked for; without one, the types of the model's own parameters, joined by "+"."""
    if trainee.precision != "fp32":
        return trainee.precision
    found = {str(one.dtype).removeprefix("torch.") for one in trainee.model.parameters() if one.is_floating_point()}
    return "+".join(_SHORT.get(name, name) for name in sorted(found)) or trainee.precision


def precise(trainee: Trainee | Learner) -> Any:
    """A context in which torch computes in the precision that was asked for (autocast)."""
    import torch

    if trainee.precision == "fp32":
        return nullcontext()
    kind = torch.bfloat16 if trainee.precision == "bf16" else torch.float16
    return torch.autocast(trainee.device.split(":")[0], dtype=kind)


def forward(learner: Learner, batch: Batch) -> Computed:
    with precise(learner):
        return learner.compute(learner.model, batch)


def evaluated(learner: Learner, batch: Batch) -> Computed:
    """In evaluation mode and without gradients; the mode of every module is as before afterwards."""
    import torch

    with in_mode(learner.model, training=False), torch.no_grad():
        return forward(learner, batch)


@contextmanager
def in_mode(model: Any, *, training: bool) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def backward(learner: Learner, loss: Any) -> None:
    """Fresh gradients, in their true scale."""
    learner.optimizer.zero_grad(set_to_none=True)
    if learner.scaler is None:
        loss.backward()
        return
    learner.scaler.scale(loss).backward()
    learner.scaler.unscale_(learner.optimizer)


def update(learner: Learner) -> None:
    """One step of the optimizer with the gradients that are there. With float16 the scaler skips it where one is not finite."""
    if learner.scaler is None:
        learner.optimizer.step()
    else:
        learner.scaler.step(learner.optimizer)
        learner.scaler.update()


def step(learner: Learner, batch: Batch) -> float:
    """A whole step; the loss before it. Where the loss is not finite no step is made."""
    loss = forward(learner, batch).loss
    value = float(loss.detach())
    if math.isfinite(value):
        backward(learner, loss)
        update(learner)
    return value


def train(
    learner: Learner,
    batches: Iterable[Batch],
    allowance: Allowance,
    *,
    is_enough: Callable[[Sequence[float]], bool] = lambda _: False,
) -> list[float]:
    """The loss of each step over `batches`; ends early at a loss that is not finite (it is the last), when the allowance is over, or when
    the losses so far are enough."""
    losses: list[float] = []
    for batch in batches:
        losses.append(step(learner, batch))
        if not math.isfinite(losses[-1]) or allowance.is_over() or is_enough(losses):
            break
    return losses
