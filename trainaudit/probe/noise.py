"""`gradient_noise`: how much the gradient depends on which examples it is taken over. torch is imported at module level."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from trainaudit.probe.batches import take
from trainaudit.probe.parameter_readings import dense
from trainaudit.probe.saved import saved
from trainaudit.probe.trainee import Batch, Computed


def gradient_noise(
    model: Any, compute: Callable[[Any, Batch], Computed], batch: Batch, parts: int = 4
) -> dict[str, float]:
    """By parameter, √(Σᵢ ‖gᵢ − ḡ‖² / (k − 1)) / ‖ḡ‖ over the gradients gᵢ of k equal parts of the batch, ḡ their mean: the standard deviation of a part's
    gradient in units of the whole one's norm (the noise of the whole batch is 1/√k of it; McCandlish et al. 2018, arXiv:1812.06162, appendix A).

    Parameters whose mean gradient is 0 or not finite are left out, and all of them where the batch has fewer than four examples or cannot be divided. The model, its gradients
    and the generators are as before afterwards. With batch normalization each part is normalized by itself.
    """
    parts = min(parts, batch.size // 2)  # of one example each batch normalization would have no variance
    if parts < 2:
        return {}
    size = batch.size // parts
    shares = [take(batch, range(part * size, (part + 1) * size)) for part in range(parts)]
    if any(share is batch for share in shares):
        return {}
    named = [(name, item) for name, item in model.named_parameters() if item.requires_grad]
    tensors = [item for _, item in named]
    sums: list[Any] = [None] * len(named)
    squares = [0.0] * len(named)
    with saved(model):
        for share in shares:
            gradients = torch.autograd.grad(compute(model, share).loss, tensors, allow_unused=True)
            for place, gradient in enumerate(gradients):
                if gradient is not None:
                    gradient = dense(gradient).double()
                    squares[place] += float(torch.linalg.vector_norm(gradient)) ** 2
                    sums[place] = gradient if sums[place] is None else sums[place] + gradient
    found = {}
    for (name, _), total, square in zip(named, sums, squares, strict=True):
        mean = 0.0 if total is None else float(torch.linalg.vector_norm(total)) / parts
        if 0 < mean < math.inf:
            found[name] = math.sqrt(max(square - parts * mean**2, 0.0) / (parts - 1)) / mean
    return found
