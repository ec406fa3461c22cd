"""The optimizer: by name, by import string, or the recipe's Adam. torch is imported inside functions only."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.load.torch.importing import user_code
from trainaudit.probe.user_objects import Caller, a
from trainaudit.suggestion import did_you_mean

SAFE_RATE = 3e-4
"""Adam's learning rate that "is safe" in Karpathy's recipe."""
_BY_PARAMETERS = ("params", "parameters", "param_groups")
_UNUSABLE = {"LBFGS": "evaluates the loss several times in a step", "SparseAdam": "takes sparse gradients alone"}


@frozen
class OptimizerChoice:
    """`make(model)` gives an optimizer over that model's parameters; `words` say how it was chosen."""

    make: Callable[[Any], Any]
    words: str


def default_optimizer(learning_rate: float | None) -> OptimizerChoice:
    rate = SAFE_RATE if learning_rate is None else learning_rate
    words = (
        f"Adam with learning rate {rate:g}, which the recipe calls safe"
        if learning_rate is None
        else f"Adam, with the given learning rate {rate:g}"
    )
    return OptimizerChoice(_maker(_classes()["adam"], {"lr": rate}), words)


def by_name(name: str, learning_rate: float | None) -> OptimizerChoice:
    """A class of torch.optim, in any case, with its own defaults."""
    classes = _classes()
    kind = classes.get(name.lower().replace("-", "").replace("_", ""))
    if kind is None:
        known = sorted(each.__name__ for each in classes.values())
        hint = did_you_mean(name.lower(), classes) or f"Known: {', '.join(known)}; or an import string pkg.mod:NAME."
        raise TrainauditError("unknown-optimizer", f'The optimizer "{name}" is not known.', hint)
    if kind.__name__ in _UNUSABLE:
        what = f"{kind.__name__} {_UNUSABLE[kind.__name__]}, which a probe cannot follow."
        raise TrainauditError("unusable-optimizer", what, "Name another, such as adamw.")
    rate = "its default learning rate" if learning_rate is None else f"the given learning rate {learning_rate:g}"
    return OptimizerChoice(_maker(kind, _rate(learning_rate)), f"{kind.__name__}, as named, with {rate}")


def _rate(learning_rate: float | None) -> dict[str, float]:
    return {} if learning_rate is None else {"lr": learning_rate}


def _maker(kind: Any, settings: Mapping[str, float]) -> Callable[[Any], Any]:
    def make(model: Any) -> Any:
        return kind(_trainable(model), **settings)

    return make


def _trainable(model: Any) -> list[Any]:
    found = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not found:
        raise TrainauditError(
            "no-parameters", "The model has no trainable parameters.", "There is nothing that a probe could train."
        )
    return found


def _classes() -> dict[str, Any]:
    import torch

    base = torch.optim.Optimizer
    return {
        name.lower(): kind
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type) and issubclass(kind, base) and kind is not base
    }


def by_object(found: Any, shown: str, learning_rate: float | None, caller: Caller) -> OptimizerChoice:
    """A class of optimizers, or a function that takes the model or its parameters."""
    import torch

    if isinstance(found, torch.optim.Optimizer):
        what = f"{shown} is an optimizer that is made already, for another model's parameters."
        raise TrainauditError("bad-optimizer", what, "Name a function that takes the model and returns the optimizer.")
    if not callable(found):
        what = f"{shown} gives {a(found)}, which makes no optimizer."
        raise TrainauditError("bad-optimizer", what, "Name a class of torch.optim, or a function that takes the model.")
    names, has_any = _parameters(found)
    by_parameters = bool(names) and (names[0] in _BY_PARAMETERS or _is_optimizer_class(found))
    rate_name = next((name for name in ("lr", "learning_rate") if name in names[1:] or has_any), None)
    keywords = {} if learning_rate is None or rate_name is None else {rate_name: learning_rate}

    def make(model: Any) -> Any:
        with user_code(f"Making the optimizer of {shown}", *caller.folders):
            if by_parameters:
                made = found(_trainable(model), **keywords)
            else:
                made = _made_of_model(found, model, keywords) if names or has_any else found()
        return _with_rate(optimizer_in(made, shown), learning_rate)

    rate = "" if learning_rate is None else f", with the given learning rate {learning_rate:g}"
    return OptimizerChoice(make, f"as {shown} makes it{rate}")


def _made_of_model(found: Any, model: Any, keywords: Mapping[str, Any]) -> Any:
    """Of the model, or of its parameters where a model is not what the function takes: `lambda p: SGD(p, 0.1)`."""
    try:
        return found(model, **keywords)
    except TypeError as error:
        try:
            return found(_trainable(model), **keywords)
        except Exception:
            raise error from None


def of_lightning(model: Any, learning_rate: float | None, caller: Caller) -> OptimizerChoice:
    shown = f"{type(model).__name__}.configure_optimizers"

    def make(copied: Any) -> Any:
        with user_code(shown, *caller.folders):
            made = copied.configure_optimizers()
        return _with_rate(optimizer_in(made, shown), learning_rate)

    return OptimizerChoice(make, f"as {shown} makes it")


def optimizer_in(made: Any, shown: str) -> Any:
    """The optimizer in what users and Lightning return: itself, (optimizers, schedulers), {"optimizer": …}; the first of several."""
    import torch

    found = made
    for _ in range(3):
        if isinstance(found, torch.optim.Optimizer):
            return found
        if isinstance(found, Mapping):
            found = found.get("optimizer")
        elif isinstance(found, (tuple, list)) and found:
            found = found[0]
        else:
            break
    if isinstance(found, torch.optim.Optimizer):
        return found
    what = f"{shown} gives {a(made)}, which is no optimizer."
    raise TrainauditError("bad-optimizer", what, "Return a torch.optim.Optimizer.")


def _with_rate(optimizer: Any, learning_rate: float | None) -> Any:
    if learning_rate is not None:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
    return optimizer


def _parameters(function: Any) -> tuple[list[str], bool]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return ["model"], False
    names = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return names, any(p.kind is p.VAR_KEYWORD for p in parameters)


def _is_optimizer_class(found: Any) -> bool:
    import functools

    import torch

    if isinstance(found, functools.partial):
        found = found.func
    return isinstance(found, type) and issubclass(found, torch.optim.Optimizer)
