"""Another loss of the same outputs and targets. torch is imported inside functions only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trainaudit.fix.refusal import NotApplicableError
from trainaudit.probe.copies import fresh
from trainaudit.probe.losses import CLASSIFYING, MEASURING, NAMED, TWO_VALUED
from trainaudit.probe.stepping import precise
from trainaudit.probe.trainee import Batch, Computed, Trainee


def with_loss(trainee: Trainee, name: str) -> Trainee:
    """The trainee with the loss of that name on what its present loss reads, computed by the same forward pass."""
    if name not in NAMED:
        raise NotApplicableError(f'there is no loss "{name}"')
    function, compute = NAMED[name], trainee.compute

    def computed(model: Any, batch: Batch) -> Computed:
        found = compute(model, batch)
        if found.output is None or found.target is None:
            raise NotApplicableError("the step does not show the output and the target that its loss reads")
        target = fitting_target(name, found.output, found.target)
        return Computed(function(found.output, target).reshape(()), found.output, target)

    words = {**trainee.words, "loss": f"{name}, in place of {trainee.loss or 'the one of your own'}"}
    made = replace(trainee, compute=computed, loss=name, words=words)
    dry_run(made)
    return made


def fitting_target(name: str, output: Any, target: Any) -> Any:
    """The target as a loss of that name takes it: class indices from one-hot rows or a column, zeros and ones in the output's shape from indices.

    Raises `NotApplicableError` where it cannot be that."""
    import torch

    units = output.shape[1] if output.ndim > 1 else 1
    if name in CLASSIFYING:
        if target.is_floating_point() and target.shape != output.shape and bool((target == target.round()).all()):
            return target.long()
        return target
    if name in TWO_VALUED or name in MEASURING or name == "hinge":
        if target.numel() == output.numel():
            return target.reshape(output.shape).to(output.dtype)
        if not target.is_floating_point() and target.ndim == 1 and output.ndim == 2 and units > 1:
            return torch.nn.functional.one_hot(target.clamp(0, units - 1), units).to(output.dtype)
        raise NotApplicableError(
            f"targets of shape {tuple(target.shape)} do not go with outputs of shape {tuple(output.shape)}"
        )
    return target


def with_mean(trainee: Trainee) -> Trainee:
    """The loss over the number of its examples: a sum becomes a mean."""
    compute = trainee.compute

    def computed(model: Any, batch: Batch) -> Computed:
        found = compute(model, batch)
        return replace(found, loss=found.loss / batch.size)

    return replace(trainee, compute=computed)


def with_aligned_target(trainee: Trainee) -> Trainee:
    """The target in the output's shape: (N,) against (N, 1) is compared one by one, and not each with each."""
    import torch

    if trainee.loss in NAMED:
        return with_loss(trainee, trainee.loss)
    before, compute = dry_run(trainee), trainee.compute
    if not isinstance(before.output, torch.Tensor) or not isinstance(before.target, torch.Tensor):
        raise NotApplicableError("the step does not show the output and the target that its loss reads")
    if before.output.numel() != before.target.numel():
        raise NotApplicableError("the output has not as many values as the target")
    tail = tuple(before.output.shape[1:])

    def computed(model: Any, batch: Batch) -> Computed:
        return compute(model, replace(batch, target=batch.target.reshape(len(batch.target), *tail)))

    made = replace(trainee, compute=computed)
    if float(dry_run(made).loss) == float(before.loss):
        raise NotApplicableError("the loss takes the target from elsewhere")
    return made


def dry_run(trainee: Trainee) -> Computed:
    """What the first batch gives, on a copy. Raises `NotApplicableError` where it cannot be computed."""
    import torch

    try:
        with fresh(trainee, 0) as model, torch.no_grad(), precise(trainee):
            found = trainee.compute(model, trainee.train[0])
    except NotApplicableError:
        raise
    except Exception as error:
        raise NotApplicableError(f"the loss cannot be computed ({type(error).__name__})") from error
    if found.loss.ndim:
        raise NotApplicableError("the loss is no single number")
    return found
