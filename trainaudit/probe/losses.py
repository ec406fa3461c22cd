"""The losses that have a name in `settings.LOSSES`, as functions of (output, target) → scalar. torch is imported inside functions only.

Losses on logits, log-probabilities and values are torch's own. Losses on probabilities follow Keras (`keras.losses`): rows are rescaled to sum
to 1 and clipped to [1e-7, 1 − 1e-7], so that the gradient at 0 and 1 is 0 and no logarithm is infinite; within these bounds they equal
torch's `BCELoss` and `NLLLoss` of the logarithm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

EPSILON = 1e-7

TORCH_CLASSES: Mapping[str, str] = {
    "CrossEntropyLoss": "cross-entropy",
    "NLLLoss": "nll",
    "BCELoss": "bce",
    "BCEWithLogitsLoss": "bce-with-logits",
    "MSELoss": "mse",
    "L1Loss": "l1",
    "SmoothL1Loss": "huber",
    "HuberLoss": "huber",
    "MultiMarginLoss": "hinge",
    "KLDivLoss": "kl",
}
"""Classes of torch.nn → the name in `settings.LOSSES`."""

CLASSIFYING = ("cross-entropy", "nll", "categorical-crossentropy")
"""Losses of one class for each example or position."""
TWO_VALUED = ("bce", "bce-with-logits")
MEASURING = ("mse", "l1", "huber")


def class_axis(output: Any, target: Any) -> int:
    """The axis of `output` that counts classes: 1 as torch has it, or the last where only that fits the target (language models)."""
    if output.ndim <= 2:
        return int(output.ndim) - 1
    shape = tuple(output.shape)
    if is_dense(output, target):
        return 1 if output.ndim > 3 else int(output.ndim) - 1
    wanted = tuple(target.shape)
    if (shape[0], *shape[2:]) == wanted:
        return 1
    return int(output.ndim) - 1 if shape[:-1] == wanted else 1


def is_dense(output: Any, target: Any) -> bool:
    """The target gives a number for each class (one-hot or soft) rather than an index."""
    return bool(target.is_floating_point() and target.shape == output.shape)


def _aligned(output: Any, target: Any) -> tuple[Any, Any]:
    """The output with the class axis at 1, and the target as indices (int64) or as weights of the classes."""
    axis = class_axis(output, target)
    if is_dense(output, target):
        return (output.movedim(axis, 1), target.movedim(axis, 1)) if output.ndim > 2 else (output, target)
    if target.is_floating_point():
        raise ValueError(
            f"targets of type {_type(target)} and shape {tuple(target.shape)} are neither class indices nor weights of the {tuple(output.shape)} outputs"
        )
    if target.ndim == output.ndim and target.shape[axis] == 1:
        target = target.squeeze(axis)  # a column of indices, as Keras takes it
    return (output.movedim(axis, 1) if output.ndim > 2 else output), target.long()


def cross_entropy(output: Any, target: Any) -> Any:
    """−Σ y log softmax(z), y an index or weights of the classes; mean over examples and positions."""
    import torch

    output, target = _aligned(output, target)
    return torch.nn.functional.cross_entropy(output, target)


def nll(output: Any, target: Any) -> Any:
    """−Σ y z on log-probabilities z."""
    import torch

    output, target = _aligned(output, target)
    if target.is_floating_point():
        return -(target * output).sum(1).mean()
    return torch.nn.functional.nll_loss(output, target)


def categorical_crossentropy(output: Any, target: Any) -> Any:
    """−Σ y log p, p rescaled and clipped as Keras does (`categorical_crossentropy`, `sparse_categorical_crossentropy`)."""
    import torch

    output, target = _aligned(output, target)
    output = output / output.sum(1, keepdim=True)
    logarithm = torch.log(output.clamp(EPSILON, 1 - EPSILON))
    if target.is_floating_point():
        return -(target * logarithm).sum(1).mean()
    return torch.nn.functional.nll_loss(logarithm, target)


def bce(output: Any, target: Any) -> Any:
    """−y log p − (1 − y) log(1 − p), p clipped as Keras does (`binary_crossentropy`)."""
    import torch

    _same_shape(output, target)
    output = output.clamp(EPSILON, 1 - EPSILON)
    target = target.to(output.dtype)
    return -(target * torch.log(output) + (1 - target) * torch.log1p(-output)).mean()


def bce_with_logits(output: Any, target: Any) -> Any:
    import torch

    return torch.nn.functional.binary_cross_entropy_with_logits(output, target.to(output.dtype))


def mse(output: Any, target: Any) -> Any:
    import torch

    return torch.nn.functional.mse_loss(output, target.to(output.dtype))


def l1(output: Any, target: Any) -> Any:
    import torch

    return torch.nn.functional.l1_loss(output, target.to(output.dtype))


def huber(output: Any, target: Any) -> Any:
    import torch

    return torch.nn.functional.huber_loss(output, target.to(output.dtype))


def hinge(output: Any, target: Any) -> Any:
    """max(0, 1 − y z) with y of −1 and 1, where targets of 0 and 1 are taken as −1 and 1 (Keras); for class indices torch's multi_margin_loss."""
    import torch

    if output.ndim == 2 and target.ndim == 1 and not target.is_floating_point() and output.shape[1] > 1:
        return torch.nn.functional.multi_margin_loss(output, target.long())
    _same_shape(output, target)
    target = target.to(output.dtype)
    signs = torch.where(((target == 0) | (target == 1)).all(), 2 * target - 1, target)
    return torch.relu(1 - signs * output).mean()


def kl(output: Any, target: Any) -> Any:
    """Σ y (log y − z) on log-probabilities z, mean over examples."""
    import torch

    _same_shape(output, target)
    return torch.nn.functional.kl_div(output, target.to(output.dtype), reduction="batchmean")


def _same_shape(output: Any, target: Any) -> None:
    if output.shape != target.shape:
        raise ValueError(f"outputs of shape {tuple(output.shape)} and targets of shape {tuple(target.shape)} differ")


def _type(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


NAMED: Mapping[str, Callable[[Any, Any], Any]] = {
    "cross-entropy": cross_entropy,
    "nll": nll,
    "categorical-crossentropy": categorical_crossentropy,
    "bce": bce,
    "bce-with-logits": bce_with_logits,
    "mse": mse,
    "l1": l1,
    "huber": huber,
    "hinge": hinge,
    "kl": kl,
}
"""By the names in `settings.LOSSES`."""
