"""The loss that goes with such outputs and targets, where none is named. torch is imported inside functions only."""

from __future__ import annotations

from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.probe.heads import Head
from trainaudit.probe.losses import CLASSIFYING, MEASURING, NAMED, TWO_VALUED, class_axis, is_dense
from trainaudit.probe.objectives import Objective, compute_with
from trainaudit.probe.structures import shapes_shown
from trainaudit.probe.user_objects import a


def inferred(output: Any, target: Any, head: Head) -> Objective:
    """The usual loss for such outputs and targets. Raises `TrainauditError` where they fit no usual one."""
    import torch

    if not isinstance(target, torch.Tensor):
        kind = "no targets" if target is None else f"targets that are {a(target)}"
        what = f"The loss cannot be inferred: the data give {kind}."
        raise TrainauditError("no-loss", what, "Name it: --loss cross-entropy, or --step pkg.mod:function.")
    name, why = _usual(output, target, head)
    function = NAMED[name]

    def criterion(found: Any, wanted: Any) -> Any:
        if wanted.shape != found.shape and wanted.numel() == found.numel() and name not in CLASSIFYING:
            wanted = wanted.reshape(found.shape)
        elif name in CLASSIFYING and wanted.is_floating_point() and wanted.ndim < found.ndim:
            wanted = wanted.long()
        return function(found, wanted)

    note = ""
    if target.shape != output.shape and target.numel() == output.numel() and name not in CLASSIFYING:
        note = f"Targets of shape {_shape(target)} are compared with outputs of shape {_shape(output)} one by one, since the loss is inferred."
    return Objective(compute_with(criterion, picks=True), name, f"{name}, inferred: {why}", note, is_inferred=True)


def _usual(output: Any, target: Any, head: Head) -> tuple[str, str]:
    values = target.detach().double()
    finite = values[values.isfinite()]
    two_valued = bool(((finite == 0) | (finite == 1)).all()) and finite.numel() > 0
    whole = not target.is_floating_point() or bool((finite == finite.round()).all())
    if target.numel() == output.numel():
        units = (
            output.shape[class_axis(output, target.to(output.dtype).reshape(output.shape))] if output.ndim > 1 else 1
        )
        if two_valued and units > 1 and _rows_sum_to_one(values.reshape(output.shape), output):
            return _of_classes(head, f"one-hot targets over {units} outputs")
        if two_valued:
            sure = head.activation in ("sigmoid", "hard_sigmoid")
            what = "targets of 0 and 1"
            return (
                ("bce", f"{what}, and a sigmoid at the output")
                if sure
                else ("bce-with-logits", f"{what}, and no sigmoid at the output")
            )
        if (
            units > 1
            and finite.numel()
            and bool((finite >= 0).all())
            and _rows_sum_to_one(values.reshape(output.shape), output)
        ):
            return _of_classes(head, f"shares of {units} classes as targets")
        return "mse", "numbers as targets, one for each output"
    if output.ndim > 1 and whole and target.ndim <= output.ndim:
        count = output.shape[class_axis(output, target)]
        kind = "integer targets" if not target.is_floating_point() else "whole numbers as targets"
        below = "below" if finite.numel() and float(finite.max()) < count else "beside"
        return _of_classes(head, f"{kind} {below} the {count} outputs")
    what = f"The loss cannot be inferred from outputs of shape {_shape(output)} and targets {shapes_shown(target)}."
    raise TrainauditError("no-loss", what, "Name it: --loss mse, or --loss pkg.mod:NAME.")


def _of_classes(head: Head, why: str) -> tuple[str, str]:
    if head.activation == "softmax":
        return "categorical-crossentropy", f"{why}, and a softmax at the output"
    if head.activation == "log_softmax":
        return "nll", f"{why}, and a log-softmax at the output"
    return "cross-entropy", why


def _rows_sum_to_one(values: Any, output: Any) -> bool:
    total = values.sum(class_axis(output, output))
    return bool(((total - 1).abs() < 1e-4).all())


def _shape(tensor: Any) -> str:
    return f"({', '.join(map(str, tensor.shape))}{',' if tensor.ndim == 1 else ''})"


def class_count_of(name: str, output: Any, target: Any) -> int | None:
    """Classes that the model tells apart, None where it is no classifier."""
    import torch

    if not isinstance(output, torch.Tensor) or not isinstance(target, torch.Tensor) or output.ndim < 2:
        return None
    if name in TWO_VALUED or name in MEASURING or name == "kl":
        return None
    axis = class_axis(output, target)
    if is_dense(output, target):
        return int(output.shape[axis]) if name in CLASSIFYING else None
    if target.is_floating_point() or output.shape[axis] < 2 or target.numel() == output.numel():
        return None
    return int(output.shape[axis])
