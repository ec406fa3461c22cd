"""Small networks with data, for tests of experiments: what `make_trainee` would give, made by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from tests.models.clocks import AMPLE
from trainaudit.probe.budget import begin
from trainaudit.probe.experiments.conditions import Conditions
from trainaudit.probe.trainee import Batch, Computed, Trainee

LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "cross-entropy": functional.cross_entropy,
    "bce-with-logits": functional.binary_cross_entropy_with_logits,
    "mse": functional.mse_loss,
}


def clusters(count: int = 128, features: int = 8, classes: int = 4, seed: int = 0) -> tuple[Any, Any]:
    """Points around one center for each class: easy."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    centers = 2 * torch.randn(classes, features, generator=generator)
    return centers[labels] + torch.randn(count, features, generator=generator), labels


def mlp(
    *widths: int, seed: int = 0, activation: Callable[[], nn.Module] = nn.ReLU, last: tuple[nn.Module, ...] = ()
) -> nn.Sequential:
    torch.manual_seed(seed)
    parts: list[nn.Module] = []
    for inner, outer in pairwise(widths[:-1]):
        parts += [nn.Linear(inner, outer), activation()]
    return nn.Sequential(*parts, nn.Linear(widths[-2], widths[-1]), *last)


def trainee(
    model: nn.Module,
    x: Any,
    y: Any,
    *,
    loss: str = "cross-entropy",
    function: Callable[[Any, Any], Any] | None = None,
    batch_size: int = 16,
    optimizer: Callable[[Any], Any] | None = None,
    **settings: Any,
) -> Trainee:
    """Batches in the order of the data; Adam at 0.003 unless another optimizer is given."""
    criterion = function or LOSSES[loss]

    def compute(model: Any, batch: Batch) -> Computed:
        output = model(*batch.args)
        return Computed(criterion(output, batch.target), output, batch.target)

    batches = tuple(
        Batch((x[start : start + batch_size],), target=y[start : start + batch_size], size=batch_size)
        for start in range(0, len(x) - batch_size + 1, batch_size)
    )
    settings = {"class_count": int(y.max()) + 1 if loss == "cross-entropy" else None, "data": "real"} | settings
    make = optimizer or (lambda model: torch.optim.Adam(model.parameters(), lr=3e-3))
    return Trainee(
        model, compute, make, batches, loss=loss if function is None else settings.pop("name", loss), **settings
    )


def conditions(trainee: Trainee, *, seconds: float = AMPLE, **others: Any) -> Conditions:
    return Conditions(trainee, seed=0, repeats=3, allowance=begin(seconds).allow("same-seed", ()), **others)
