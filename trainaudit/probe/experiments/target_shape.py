"""Does the loss broadcast the output against the target? torch is imported inside functions only."""

from __future__ import annotations

import warnings
from typing import Any

from trainaudit.probe.copies import fresh
from trainaudit.probe.experiments.conditions import Conditions
from trainaudit.probe.stepping import precise
from trainaudit.trace.experiments import NOT_RUN, RAN, Experiment


def target_shape(conditions: Conditions) -> Experiment:
    """One loss is computed while every tensor operation is watched: one that turns the output's and the target's shape into a larger one
    broadcasts them, whether torch warns of it (its own losses) or not (arithmetic)."""
    import torch

    trainee = conditions.trainee
    batch = trainee.train[0]
    with fresh(trainee, conditions.seed) as model, torch.no_grad(), precise(trainee):
        computed = trainee.compute(model, batch)
        if computed.output is None or not isinstance(computed.target, torch.Tensor):
            return Experiment(NOT_RUN, "the step computes its loss itself, and shows neither output nor target")
        output, target = tuple(computed.output.shape), tuple(computed.target.shape)
        is_broadcast, warning = False, ""
        if output != target and batch.size > 1:
            larger = _broadcast(output, target)
            if larger is not None and larger not in (output, target):
                is_broadcast, warning = _watched(model, lambda: trainee.compute(model, batch), larger, {output, target})
    values: dict[str, float | str | bool] = {
        "output_shape": str(list(output)),
        "target_shape": str(list(target)),
        "is_broadcast": is_broadcast,
    }
    if warning:
        values["warning"] = warning
    return Experiment(RAN, values=values, seeds=(conditions.seed,))


def _broadcast(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...] | None:
    import torch

    try:
        return tuple(torch.broadcast_shapes(one, other))  # type: ignore[no-untyped-call]
    except RuntimeError:
        return None


def _watched(model: Any, compute: Any, larger: tuple[int, ...], shapes: set[tuple[int, ...]]) -> tuple[bool, str]:
    """Whether some operation behind the model made `larger` out of a tensor of one of `shapes`, and what torch warned meanwhile."""
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: list[Any] = []

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            if tuple(getattr(result, "shape", ())) == larger and any(
                tuple(getattr(value, "shape", ())) in shapes for value in args
            ):
                seen.append(function)
            return result

    model.register_forward_hook(lambda *_: seen.clear())  # the model's own layers may have these shapes by chance
    with warnings.catch_warnings(record=True) as caught, Watch():  # type: ignore[no-untyped-call]
        warnings.simplefilter("always")
        compute()
    said = [str(item.message) for item in caught if "broadcast" in str(item.message)]
    return bool(seen), said[0].split(". ")[0][:300] if said else ""
