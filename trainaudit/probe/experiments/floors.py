"""Losses at which a batch's training is known to stall, each for a cause. torch is imported inside functions only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trainaudit.probe.experiments.answers import best_constant, class_rates, joined, numbers
from trainaudit.probe.experiments.conflicts import label_conflict
from trainaudit.probe.experiments.constant_answers import best_constant_output, is_faithful, loss_of
from trainaudit.probe.stepping import precise
from trainaudit.probe.trainee import Batch, Computed, Trainee

NEAR = 0.02
_SIGMOID_OF_ONE, _SIGMOID_OF_ZERO = math.log1p(math.exp(-1.0)), math.log(2.0)
"""Binary cross-entropy with logits of 1 (the most that a sigmoid gives) for a 1, and of 0 for a 0: 0.3133 and 0.6931."""


def double_softmax(classes: int) -> float:
    """Cross-entropy of the surest answer that a softmax gives, read as logits: −ln softmax(1, 0, …, 0)₁ = ln(e + C − 1) − 1."""
    return math.log(math.e + classes - 1) - 1


def sigmoid_before_logits(rate: float) -> float:
    """Binary cross-entropy on logits of the surest answers that a sigmoid gives, `rate` of the targets being 1."""
    return rate * _SIGMOID_OF_ONE + (1 - rate) * _SIGMOID_OF_ZERO


def references(trainee: Trainee, batch: Batch, computed: Computed) -> dict[str, float]:
    """The losses that the end of the training on this batch is compared with, on the scale of the user's own loss (a sum over the batch has
    another one than a mean): the names of `NAMES["overfit-one-batch"]`."""
    import torch

    output, target = computed.output, computed.target
    if output is None or not isinstance(target, torch.Tensor):
        return {}
    output = output.detach().float()
    constant = best_constant(trainee.loss, output, target)
    if constant is None:
        return {}
    scale = scale_of(trainee, batch, computed, constant)
    found = {"constant_loss": constant}
    if trainee.loss == "cross-entropy":
        rates = class_rates(output, target)
        if not target.is_floating_point() or bool(((target == 0) | (target == 1)).all()):
            found["floor_double_softmax"] = double_softmax(rates.numel())
    elif trainee.loss == "mse":
        found["floor_broadcast"] = float(numbers(target).var(unbiased=False))
    elif trainee.loss == "bce-with-logits" and bool(((target == 0) | (target == 1)).all()):
        found["floor_sigmoid"] = sigmoid_before_logits(float(numbers(target).mean()))
    conflict = label_conflict(trainee.loss, output, batch)
    if conflict is not None:
        found["label_conflict"] = conflict
    return {name: value * scale for name, value in found.items()}


def mean_constant(trainee: Trainee, model: Any, batches: Sequence[Batch]) -> dict[str, float]:
    """`constant_loss`: that of the best constant on all of these batches together, on the scale of the user's loss; nothing where it is not known."""
    import torch

    with torch.no_grad(), precise(trainee):
        computed = [trainee.compute(model, batch) for batch in batches]
    output, target = joined(computed)
    constant = best_constant(trainee.loss, output, target)
    if constant is None:
        return {}
    return {
        "constant_loss": constant
        * scale_of(
            trainee, batches[0], computed[0], best_constant(trainee.loss, computed[0].output, computed[0].target)
        )
    }


def scale_of(trainee: Trainee, batch: Batch, computed: Computed, constant: float | None) -> float:
    """The user's loss of the best constant over its closed form: the number of examples for a sum, 1 for a mean."""
    import torch

    filled = best_constant_output(trainee.loss, computed.output, computed.target)
    if filled is None or constant is None or constant < 1e-6:
        return 1.0
    if not is_faithful(trainee, [(batch, computed.output)], [float(computed.loss)]):
        return 1.0
    with torch.no_grad():
        found = float(loss_of(trainee, batch, filled(computed.output)))
    return found / constant if math.isfinite(found) and found > 0 else 1.0


def nearest_floor(loss: float, values: Mapping[str, Any], *, is_broadcast: bool) -> str:
    """The floor within 2 % of which the loss is, "none" without one. A broadcast target and a constant answer have the same floor: the shapes tell."""
    floors = {
        "double-softmax": values.get("floor_double_softmax"),
        "broadcast": values.get("floor_broadcast") if is_broadcast else None,
        "sigmoid": values.get("floor_sigmoid"),
        "constant": values.get("constant_loss"),
    }
    near = {
        name: abs(loss - floor) / floor for name, floor in floors.items() if floor and abs(loss - floor) <= NEAR * floor
    }
    return min(near, key=lambda name: near[name]) if near else "none"
