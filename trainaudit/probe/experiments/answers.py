"""What outputs answer, and what the best constant answer costs. torch is imported inside functions only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trainaudit.probe.losses import CLASSIFYING, MEASURING, TWO_VALUED, class_axis, is_dense
from trainaudit.probe.trainee import Computed

IGNORED = -100
"""torch's label of positions that do not count."""


def classes_of(loss: str, output: Any, target: Any) -> Any:
    """Predicted classes as integers: the largest output, or whether a single one passes its middle; None where the targets are no classes."""
    if output is None or target is None or not hasattr(target, "is_floating_point") or output.ndim == 0:
        return None
    output = output.detach()
    if loss in TWO_VALUED and output.shape == target.shape:
        return (output > (0.0 if loss == "bce-with-logits" else 0.5)).long()
    if loss in MEASURING or loss in TWO_VALUED or output.ndim < 2:
        return None
    axis = class_axis(output, target)
    is_index = not target.is_floating_point()
    if output.shape[axis] < 2 or not (is_index or (is_dense(output, target) and loss in CLASSIFYING)):
        return None
    return output.argmax(axis)


def right_share(loss: str, computed: Computed) -> Any:
    """Share of the classes that are right, as a tensor; None where the targets are no classes, or a loss that is not known by name may read them
    in its own way (language models shift them)."""
    if loss not in CLASSIFYING and loss not in TWO_VALUED:
        return None
    found = classes_of(loss, computed.output, computed.target)
    if found is None:
        return None
    target = true_classes(loss, computed.output, computed.target)
    if target.shape != found.shape:
        return None
    counted = target != IGNORED
    return ((found == target) & counted).sum() / counted.sum().clamp(min=1)


def true_classes(loss: str, output: Any, target: Any) -> Any:
    if loss in TWO_VALUED:
        return (target > 0.5).long()
    if is_dense(output, target):
        return target.argmax(class_axis(output, target))
    if target.ndim == output.ndim and target.shape[class_axis(output, target)] == 1:
        return target.squeeze(class_axis(output, target))
    return target


def numbers(tensor: Any) -> Any:
    """In float64, on the CPU: not every device has that type."""
    return tensor.detach().cpu().double()


def class_rates(output: Any, target: Any) -> Any:
    """Share of each class (C,) among the targets, indices or weights."""
    import torch

    axis = class_axis(output, target)
    if is_dense(output, target):
        rates = numbers(target.movedim(axis, -1).reshape(-1, output.shape[axis])).mean(0)
        return rates / rates.sum()
    labels = target.detach().cpu().reshape(-1).long()
    labels = labels[(labels >= 0) & (labels < output.shape[axis])]
    counts = torch.bincount(labels, minlength=output.shape[axis]).double()
    return counts / counts.sum().clamp(min=1)


def entropy(rates: Any) -> float:
    """−Σ p ln p in nats."""
    import torch

    return float(-torch.xlogy(rates, rates).sum())


def binary_entropy(rates: Any) -> float:
    """Mean over units of −p ln p − (1 − p) ln(1 − p)."""
    import torch

    return float(-(torch.xlogy(rates, rates) + torch.xlogy(1 - rates, 1 - rates)).mean())


def by_unit(values: Any) -> Any:
    """(examples, units): what one constant of the output could be set to apart, the features of the first axis behind the batch."""
    if values.ndim <= 1:
        return values.reshape(-1, 1)
    if values.ndim == 2:
        return values
    return values.movedim(1, -1).reshape(-1, values.shape[1])


def best_constant(loss: str, output: Any, target: Any) -> float | None:
    """Loss of the best constant output on these targets, as a mean: the entropy of the class rates (classes), the mean binary entropy (two values),
    the variance (squared errors), the mean distance from the median (absolute ones). None for other losses.

    Squared errors of an output that is broadcast against its target are those of the constant against all targets: their variance too."""
    if target is None or output is None:
        return None
    if loss in CLASSIFYING:
        return entropy(class_rates(output, target))
    if loss in TWO_VALUED:
        return binary_entropy(by_unit(numbers(target)).mean(0))
    if loss == "mse":
        return float(by_unit(numbers(target)).var(0, unbiased=False).mean())
    if loss == "l1":
        units = by_unit(numbers(target))
        return float((units - units.median(0).values).abs().mean())
    return None


def knows_nothing(loss: str, output: Any, target: Any) -> tuple[float, str] | None:
    """(loss, kind) that a model would have that has not looked at the data: ln C for C classes, ln 2 for two values, Var(y) for squared errors.
    None for other losses."""
    if target is None or output is None:
        return None
    if loss in CLASSIFYING:
        count = output.shape[class_axis(output, target)]
        return (math.log(count), "uniform-classes") if count > 1 else None
    if loss in TWO_VALUED:
        return math.log(2.0), "uniform-classes"
    constant = best_constant(loss, output, target)
    return None if constant is None else (constant, "target-variance")


def joined(computed: Sequence[Computed]) -> tuple[Any, Any]:
    """Outputs (as float32) and targets of several batches, one after the other; those of the first alone where shapes differ. None for what a
    user's own step hides."""
    import torch

    first = computed[0]
    if first.output is None:
        return None, None
    outputs = [one.output.detach().float() for one in computed]
    targets = [one.target for one in computed]
    if len({output.shape[1:] for output in outputs}) > 1 or outputs[0].ndim == 0:
        outputs, targets = outputs[:1], targets[:1]
    if not all(
        isinstance(target, torch.Tensor) and target.ndim and target.shape[1:] == targets[0].shape[1:]
        for target in targets
    ):
        return torch.cat(outputs) if outputs[0].ndim else outputs[0], None
    return torch.cat(outputs), torch.cat(targets)
