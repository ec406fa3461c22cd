"""The loss of answers that the model did not give, through the user's own loss: constants, and its own answers moved by a bias.

torch is imported inside functions only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from trainaudit.probe.experiments.answers import by_unit, class_rates, numbers
from trainaudit.probe.losses import CLASSIFYING, class_axis
from trainaudit.probe.stepping import precise
from trainaudit.probe.trainee import Batch, Trainee

Answered = Sequence[tuple[Batch, Any]]
"""Batches with the outputs that the model gave on them, without gradient."""
_TINY = 1e-7


def loss_of(trainee: Trainee, batch: Batch, output: Any) -> Any:
    """The batch's loss, had the model answered `output`."""
    with precise(trainee):
        return trainee.compute(_answering(output), batch).loss


def is_faithful(trainee: Trainee, answered: Answered, losses: Sequence[float]) -> bool:
    """The loss goes through what the model returns: its own outputs, given by something else, cost the same."""
    import torch

    batch, output = answered[0]
    try:
        with torch.no_grad():
            again = float(loss_of(trainee, batch, output))
    except Exception:
        return False
    return math.isclose(again, losses[0], rel_tol=1e-3, abs_tol=1e-6)


def uninformed(loss: str, output: Any) -> Any:
    """The output of a model that has not looked at the data, all classes being equally likely; None for losses that are not of classes."""
    import torch

    if loss in ("cross-entropy", "bce-with-logits"):
        return torch.zeros_like(output)
    if loss == "bce":
        return torch.full_like(output, 0.5)
    if loss in CLASSIFYING:
        share = 1.0 / output.shape[1 if output.ndim > 1 else 0]
        return torch.full_like(output, share if loss == "categorical-crossentropy" else math.log(share))
    return None


def best_constant_output(loss: str, output: Any, target: Any) -> Callable[[Any], Any] | None:
    """The best constant for these targets, as a function that fills an output with it. None for losses whose best constant has no closed form."""
    import torch

    if loss in CLASSIFYING:
        rates = class_rates(output, target).clamp(min=_TINY)
        constant = rates if loss == "categorical-crossentropy" else rates.log()
        axis = class_axis(output, target)
    elif loss in ("bce", "bce-with-logits"):
        rates = by_unit(numbers(target)).mean(0).clamp(_TINY, 1 - _TINY)
        constant = rates if loss == "bce" else torch.logit(rates)
        axis = 1
    elif loss in ("mse", "l1"):
        units = by_unit(numbers(target))
        constant = units.mean(0) if loss == "mse" else units.median(0).values
        axis = 1
    else:
        return None

    def filled(like: Any) -> Any:
        places = min(axis, like.ndim - 1)
        if constant.numel() not in (1, like.shape[places]):
            return torch.full_like(like, float(constant.mean()))
        shape = [constant.numel() if place == places and constant.numel() > 1 else 1 for place in range(like.ndim)]
        return constant.to(like).reshape(shape).expand_as(like).contiguous()

    return filled


def best_bias(trainee: Trainee, fitted: Answered, judged: Answered) -> float | None:
    """Mean loss on `judged` with the outputs moved by the bias, one for each unit, that is best on `fitted`: of logits and values the bias
    itself, of probabilities that of the logits behind them. Found by torch's L-BFGS through the user's own loss; None where that gives no gradient.

    A penalty of ‖bias‖² / (8 n) on n examples keeps the bias of a class that none of them has from going to −∞: it weighs as much as a prior on
    the bias with a standard deviation of 2 would.
    """
    import torch

    first_batch, first = fitted[0]
    axis = 0 if first.ndim == 1 else _unit_axis(first, first_batch)
    shape = [size if place == axis and first.ndim > 1 else 1 for place, size in enumerate(first.shape)]
    bias = torch.zeros(shape, device=first.device, requires_grad=True)

    def loss(answered: Answered) -> Any:
        return torch.stack(
            [loss_of(trainee, batch, _moved(output, bias, trainee.loss, axis)) for batch, output in answered]
        ).mean()

    count = sum(batch.size for batch, _ in fitted)
    search = torch.optim.LBFGS([bias], max_iter=30, line_search_fn="strong_wolfe")

    def closure() -> Any:
        search.zero_grad()
        value = loss(fitted) + bias.square().sum() / (8 * count)
        value.backward()
        return value

    if not loss(fitted).requires_grad:
        return None
    search.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        found = float(loss(judged))
    return found if math.isfinite(found) else None


def _unit_axis(output: Any, batch: Batch) -> int:
    import torch

    if isinstance(batch.target, torch.Tensor) and output.ndim > 2:
        return class_axis(output, batch.target)
    return 1


def _moved(output: Any, bias: Any, loss: str, axis: int) -> Any:
    import torch

    if loss == "categorical-crossentropy":
        return torch.softmax(torch.log(output.clamp(min=_TINY)) + bias, axis)
    if loss == "bce":
        return torch.sigmoid(torch.logit(output, eps=_TINY) + bias)
    if loss in ("nll", "kl"):
        return torch.log_softmax(output + bias, axis)
    return output + bias


def _answering(output: Any) -> Any:
    """A module that answers `output`, whatever it is asked."""
    import torch

    class Answer(torch.nn.Module):
        def forward(self, *_: Any, **__: Any) -> Any:
            return output

    return Answer()
