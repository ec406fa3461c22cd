"""Where the first NaN or infinity of a run arose, from the readings of the step in which it did. Stdlib only; what is asked of tensors is asked of
the inputs alone."""

from __future__ import annotations

import math

from trainaudit.probe.batches import inputs
from trainaudit.probe.collecting import Readings
from trainaudit.probe.trainee import Batch
from trainaudit.trace.trace import NonFinite, Number, Series


def first_non_finite(readings: Readings, step: int, loss: Number, batch: Batch) -> NonFinite:
    """`readings` end with that step, read in full. In the order in which a step computes: inputs, parameters, activations from the first layer to
    the last, the loss, and gradients from the last layer to the first."""
    import torch

    for place, tensor in enumerate(inputs(batch)):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return NonFinite(step, "input", f"input {place}")
    for parameter in readings.parameters:
        if _is_broken(parameter.weight_norm):
            return NonFinite(step, "parameter", parameter.name)
    for activation in readings.activations:
        if _count(activation.non_finite):
            return NonFinite(step, "activation", activation.tap.name, activation.tap.layer)
    if loss is not None and not math.isfinite(loss):
        return NonFinite(step, "loss", "loss")
    for activation in reversed(readings.activations):
        if _is_broken(activation.gradient_rms):
            return NonFinite(step, "gradient", activation.tap.name, activation.tap.layer)
    broken = [parameter.name for parameter in readings.parameters if _is_broken(parameter.gradient_norm)]
    return NonFinite(step, "gradient", broken[-1] if broken else "loss")


def _is_broken(series: Series) -> bool:
    return bool(series) and series[-1] is not None and not math.isfinite(series[-1])


def _count(series: Series) -> float:
    """0 where the last entry was not had."""
    return series[-1] or 0.0 if series else 0.0
