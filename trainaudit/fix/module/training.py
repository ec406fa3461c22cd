"""Changes of how a model is trained: its optimizer, its gradient, its loss. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from trainaudit.changes import Change
from trainaudit.fix.module.losses import with_aligned_target, with_loss, with_mean
from trainaudit.fix.module.parameters import tensors_of
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.probe.optimizer_settings import learning_rate, scale_rates
from trainaudit.probe.trainee import Trainee

Alter = Callable[[Any, Any], None]
"""Changes an optimizer that was just made for a model."""


def with_training(trainee: Trainee, changes: Sequence[Change]) -> Trainee:
    """The trainee with another optimizer or loss. The user's own factory of the optimizer is kept: what it makes is changed."""
    alters: list[Alter] = []
    for change in changes:
        if change.kind == "loss":
            trainee = with_loss(trainee, change.to)
        elif change.kind == "mean-loss":
            trainee = with_mean(trainee)
        elif change.kind == "align-target":
            trainee = with_aligned_target(trainee)
        elif change.kind == "train-parameter":
            alters.append(_including([name for name, _ in tensors_of(trainee.model, change.where)]))
        else:
            alters.append(_ALTERS[change.kind](change.amount))
    if not alters:
        return trainee
    made = with_optimizer(trainee, alters)
    made.make_optimizer(made.model)  # so that what cannot be done is said now
    return made


def with_optimizer(trainee: Trainee, alters: Sequence[Alter]) -> Trainee:
    """The trainee whose optimizers are changed when they are made."""
    make = trainee.make_optimizer

    def altered(model: Any) -> Any:
        optimizer = make(model)
        for alter in alters:
            alter(optimizer, model)
        return optimizer

    return replace(trainee, make_optimizer=altered)


def _needed(amount: float | None, what: str) -> float:
    if amount is None:
        raise NotApplicableError(f"the {what} has no amount")
    return amount


def _with_rate(amount: float | None) -> Alter:
    rate = _needed(amount, "learning rate")

    def alter(optimizer: Any, _model: Any) -> None:
        if learning_rate(optimizer) is None:
            raise NotApplicableError(f"{type(optimizer).__name__} has no learning rate")
        scale_rates(optimizer, rate)

    return alter


def _with_decay(amount: float | None) -> Alter:
    decay = _needed(amount, "weight decay")

    def alter(optimizer: Any, _model: Any) -> None:
        groups = [group for group in optimizer.param_groups if "weight_decay" in group]
        if not groups:
            raise NotApplicableError(f"{type(optimizer).__name__} has no weight decay")
        largest = max(float(group["weight_decay"]) for group in groups)
        for group in groups:
            group["weight_decay"] = decay * (float(group["weight_decay"]) / largest if largest else 1.0)

    return alter


def _decaying_matrices(_amount: float | None) -> Alter:
    def alter(optimizer: Any, _model: Any) -> None:
        for group in list(optimizer.param_groups):
            vectors = [item for item in group["params"] if item.ndim <= 1]
            if vectors and group.get("weight_decay"):
                group["params"] = [item for item in group["params"] if item.ndim > 1]
                rest = {key: value for key, value in group.items() if key != "params"}
                optimizer.add_param_group({**rest, "params": vectors, "weight_decay": 0.0})

    return alter


def _minimizing(_amount: float | None) -> Alter:
    def alter(optimizer: Any, _model: Any) -> None:
        groups = [group for group in optimizer.param_groups if group.get("maximize")]
        for group in groups:
            group["maximize"] = False
        if not groups:
            _before_step(optimizer, _turned)

    return alter


def _turned(optimizer: Any) -> None:
    """The run goes up since its loss, or its step, has the wrong sign: the gradient gets the other one."""
    for gradient in _gradients(optimizer):
        gradient.neg_()


def _clipping(amount: float | None) -> Alter:
    norm = _needed(amount, "largest norm")

    def clip(optimizer: Any) -> None:
        import torch

        parameters = [item for group in optimizer.param_groups for item in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, norm)

    return lambda optimizer, _model: _before_step(optimizer, clip)


def _warming_up(amount: float | None) -> Alter:
    steps = max(int(_needed(amount, "warm-up")), 1)

    def alter(optimizer: Any, _model: Any) -> None:
        made = 0

        def rise(optimizer: Any) -> None:
            nonlocal made
            made += 1
            share = min(made / steps, 1.0)
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("warmed_lr", group["lr"]) * share

        _before_step(optimizer, rise)

    return alter


def _before_step(optimizer: Any, change: Callable[[Any], None]) -> None:
    def called(optimizer: Any, _args: Any, _kwargs: Any) -> None:
        import torch

        with torch.no_grad():
            change(optimizer)

    optimizer.register_step_pre_hook(called)


def _gradients(optimizer: Any) -> list[Any]:
    return [item.grad for group in optimizer.param_groups for item in group["params"] if item.grad is not None]


def _including(names: Sequence[str]) -> Alter:
    def alter(optimizer: Any, model: Any) -> None:
        held = dict(model.named_parameters(remove_duplicate=False))
        include(optimizer, [held[name] for name in names if name in held])

    return alter


def include(optimizer: Any, parameters: Sequence[Any]) -> None:
    """The optimizer trains these parameters too, as those of its first group."""
    known = {id(item) for group in optimizer.param_groups for item in group["params"]}
    missing = [item for item in parameters if id(item) not in known]
    for item in missing:
        item.requires_grad_(True)
    if missing:
        optimizer.param_groups[0]["params"] += missing


_ALTERS: dict[str, Callable[[float | None], Alter]] = {
    "learning-rate": _with_rate,
    "weight-decay": _with_decay,
    "decay-matrices-alone": _decaying_matrices,
    "clip-gradients": _clipping,
    "minimize": _minimizing,
    "warm-up": _warming_up,
}
