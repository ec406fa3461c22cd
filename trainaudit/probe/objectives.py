"""`Objective`: one forward pass and its loss, by the user's step, the named loss, the model's own, or one that is inferred from output and targets.

torch is imported inside functions only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.load.torch.restore import left_as_found
from trainaudit.probe.heads import loss_within, read_by_loss
from trainaudit.probe.losses import NAMED, TORCH_CLASSES
from trainaudit.probe.step_failure import Seen, StepFailedError, watched
from trainaudit.probe.trainee import Batch, Computed
from trainaudit.probe.user_objects import Caller, a, called, needed
from trainaudit.suggestion import did_you_mean

Compute = Callable[[Any, Batch], Computed]


@frozen
class Objective:
    """`name` is the loss's name in `settings.LOSSES`, "" for one of the user's or model's own; `words` say how it was chosen."""

    compute: Compute
    name: str
    words: str
    note: str = ""
    criterion: Any = None
    """The user's own function (output, target) → loss, where there is one."""
    is_inferred: bool = False

    @property
    def ignore_index(self) -> int:
        """The label that the loss leaves out, as torch's losses call it."""
        value = getattr(self.criterion, "ignore_index", None)
        return value if isinstance(value, int) else -100


# --- the user's whole step -----------------------------------------------------------------------------------------------


def of_step(step: Callable[..., Any], shown: str) -> Objective:
    """`step(model, batch)` → loss, (loss, output) or {"loss": …, "output": …}; the batch as the data gave it."""

    def compute(model: Any, batch: Batch) -> Computed:
        return _of_step_result(step(model, batch.raw), batch, shown)

    return Objective(compute, "", f"computed by the step {shown}")


def of_training_step(model: Any) -> Objective:
    """LightningModule's training_step, with as many of batch, batch_idx and dataloader_idx as it takes."""
    shown = f"{type(model).__name__}.training_step"
    if getattr(model, "automatic_optimization", True) is False:
        what = f"{shown} runs its own optimizers (automatic_optimization is False)."
        raise TrainauditError(
            "manual-optimization", what, "Give a step that returns the loss: --step pkg.mod:function."
        )
    count = len(needed(type(model).training_step) or ("self", "batch", "batch_idx")) - 1

    def compute(copied: Any, batch: Batch) -> Computed:
        return _of_step_result(copied.training_step(*(batch.raw, 0, 0)[: max(1, count)]), batch, shown)

    return Objective(compute, "", f"computed by {shown}")


def _of_step_result(result: Any, batch: Batch, shown: str) -> Computed:
    import torch

    output = None
    if isinstance(result, Mapping):
        output = next((result[key] for key in ("output", "outputs", "logits", "preds") if key in result), None)
        result = result.get("loss")
    elif isinstance(result, (tuple, list)) and len(result) == 2:
        result, output = result
    if not isinstance(result, torch.Tensor):
        what = f"{shown} gives {a(result)} as its loss."
        raise TrainauditError("no-loss", what, "Return the loss, or (loss, output).")
    return Computed(_scalar(result, shown), output if isinstance(output, torch.Tensor) else None, batch.target)


def _scalar(loss: Any, shown: str) -> Any:
    if loss.numel() != 1:
        what = f"The loss of {shown} is a tensor of shape {tuple(loss.shape)}, and no single number."
        raise TrainauditError("no-scalar-loss", what, "Reduce it: .mean().")
    return loss.reshape(()) if loss.ndim else loss


# --- the model's own loss ------------------------------------------------------------------------------------------------


def of_model(shown: str) -> Objective:
    def compute(model: Any, batch: Batch) -> Computed:
        result = model(*batch.args, **batch.kwargs)
        loss = loss_within(result)
        if loss is None:
            raise TrainauditError("no-loss", f"{shown} returned no loss.", "Name one with --loss.")
        return Computed(loss, _output_beside(result, loss), batch.target)

    return Objective(compute, "", "the model's own")


def _output_beside(result: Any, loss: Any) -> Any:
    """The tensor that the model's loss read, where the model returns it too."""
    import torch

    if isinstance(result, torch.Tensor):
        return None
    if isinstance(result, tuple) and not hasattr(result, "_fields"):
        result = tuple(item for item in result if item is not loss)
    try:
        found = read_by_loss(result)
    except TrainauditError:
        return None
    return found if found.ndim else None


# --- a loss that was named -----------------------------------------------------------------------------------------------


def of_name(name: str) -> Objective:
    if name not in NAMED:
        hint = did_you_mean(name, NAMED) or f"Known: {', '.join(NAMED)}; or an import string pkg.mod:NAME."
        raise TrainauditError("unknown-loss", f'The loss "{name}" is not known.', hint)
    return Objective(compute_with(NAMED[name], picks=True), name, f"{name}, as declared")


def of_object(found: Any, shown: str, caller: Caller) -> Objective:
    """A callable (output, target) → scalar, a class of such, or a factory that returns one."""
    import torch

    if isinstance(found, type) or (callable(found) and not isinstance(found, torch.nn.Module) and needed(found) == []):
        found = called(found, shown, caller)
    if not callable(found):
        what = f"{shown} gives {a(found)}, which is no loss."
        raise TrainauditError(
            "bad-loss", what, "Name a function (output, target) → number, a class or a factory of one."
        )
    is_torch = (
        type(found).__module__ == "torch.nn.modules.loss" or getattr(found, "__module__", "") == "torch.nn.functional"
    )
    name = TORCH_CLASSES.get(type(found).__name__, "") if is_torch else ""
    criterion = copy.deepcopy(found) if isinstance(found, torch.nn.Module) else found
    kind = (
        type(found).__name__ if isinstance(found, torch.nn.Module) else getattr(found, "__name__", type(found).__name__)
    )
    return Objective(compute_with(criterion, picks=is_torch), name, f"{kind} of {shown}", criterion=criterion)


def compute_with(criterion: Any, *, picks: bool) -> Compute:
    """`picks`: the criterion reads one tensor. One of the user's own gets all that the model returns, where it takes that."""
    import torch

    moved: dict[str, Any] = {}

    def on_device(output: Any) -> Any:
        if not isinstance(criterion, torch.nn.Module):
            return criterion
        device = str(output.device)
        if device not in moved:
            moved[device] = copy.deepcopy(criterion).to(device)
        return moved[device]

    takes_all = not picks

    def compute(model: Any, batch: Batch) -> Computed:
        nonlocal takes_all
        result = model(*batch.args, **batch.kwargs)
        output = read_by_loss(result)
        function = on_device(output)
        if result is not output and takes_all:
            try:
                return Computed(_scalar(function(result, batch.target), "the criterion"), output, batch.target)
            except (TypeError, AttributeError, ValueError, RuntimeError, KeyError):
                takes_all = False
        return Computed(_scalar(function(output, batch.target), "the criterion"), output, batch.target)

    return compute


def unknown(error: TrainauditError) -> Objective:
    """What stands for a loss that could not be settled, since the model raised `error` before there was an output."""

    def compute(_model: Any, _batch: Batch) -> Computed:
        raise error

    return Objective(compute, "", "not known, since the model gave no output")


# --- the first run -------------------------------------------------------------------------------------------------------


def tried(model: Any, batch: Batch, run: Callable[[Any, Batch], Any], shown: str) -> Any:
    """What `run(model, batch)` gives without gradients, in training mode, or in evaluation mode where it breaks down in the other; the model is
    left as found. Raises `StepFailedError` with the user's own line."""
    import torch

    failures: list[tuple[Exception, Seen]] = []
    for training in (True, False):
        with left_as_found(model, computes=False), torch.no_grad(), watched(model) as seen:
            try:
                model.train(training)
                return run(model, batch)
            except TrainauditError:
                raise
            except Exception as error:  # whatever the user's code raises
                failures.append((error, seen))
    raised, before = failures[0]
    raise StepFailedError(shown, batch, raised, before) from raised
