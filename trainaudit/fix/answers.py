"""How wrong outputs are, whatever the loss: what two runs with different losses are compared by. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainaudit.probe.experiments.answers import IGNORED, by_unit, numbers
from trainaudit.probe.losses import class_axis


def errors_of(loss: str, outputs: Sequence[Any], targets: Sequence[Any]) -> tuple[float | None, float | None]:
    """(share of wrong classes, squared error over the targets' variance) over all batches, each None where the targets are no classes and no numbers.

    Classes are integers, one-hot rows, or zeros and ones of the output's shape; of a single output the loss's name says where its middle is. A target that has
    as many elements as the output is compared with it element by element, whatever their shapes: (N,) and (N, 1) are the same numbers.
    """
    import torch

    if not outputs or not all(isinstance(each, torch.Tensor) and each.ndim for each in (*outputs, *targets)):
        return None, None
    if len({each.shape[1:] for each in outputs}) > 1 or len({each.shape[1:] for each in targets}) > 1:
        return None, None
    output, target = torch.cat([each.detach() for each in outputs]), torch.cat([each.detach() for each in targets])
    if not output.is_floating_point():
        return None, None
    found = _wrong_classes(loss, output, target)
    if found is not None:
        return found, None
    if not target.is_floating_point() or output.numel() != target.numel():
        return None, None
    return None, _relative_error(output.reshape(target.shape), target)


def _wrong_classes(loss: str, output: Any, target: Any) -> float | None:
    """Of the largest output for integers and one-hot rows, of the side of the middle for zeros and ones."""
    has_classes = output.ndim > 1 and output.shape[class_axis(output, target)] > 1
    if (
        has_classes
        and not target.is_floating_point()
        and target.numel() * output.shape[class_axis(output, target)] == output.numel()
    ):
        axis = class_axis(output, target)
        answers, right = output.argmax(axis).reshape(-1), target.reshape(-1)
        counted = right != IGNORED
        return float((answers != right)[counted].float().mean()) if bool(counted.any()) else None
    if output.numel() != target.numel() or not bool(((target == 0) | (target == 1)).all()):
        return None
    target = target.reshape(output.shape)
    axis = class_axis(output, target)
    if has_classes and bool((target.sum(axis) == 1).all()):
        return float((output.argmax(axis) != target.argmax(axis)).float().mean())
    middle = 0.0 if loss in ("bce-with-logits", "hinge") else 0.5
    return float(((output > middle) != (target > 0.5)).float().mean())


def _relative_error(output: Any, target: Any) -> float | None:
    """1 − R²: 1 for the best constant, in whichever unit; mean over the units of the output."""
    wanted, given = by_unit(numbers(target)), by_unit(numbers(output))
    spread = wanted.var(0, unbiased=False)
    kept = spread > 0
    if not bool(kept.any()):
        return None
    return float((((given - wanted) ** 2).mean(0)[kept] / spread[kept]).mean())
