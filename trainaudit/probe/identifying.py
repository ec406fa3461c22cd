"""Which of the losses with a name a criterion of the user's own computes, told by its values. torch is imported inside functions only."""

from __future__ import annotations

import math
import warnings
from typing import Any

from trainaudit.load.torch.seeding import seeded
from trainaudit.probe.losses import NAMED, class_axis

_DRAWS = 2
_TOLERANCE = 1e-4
_DOMAINS = {
    "values": ("cross-entropy", "bce-with-logits", "mse", "l1", "huber", "hinge"),
    "shares": ("bce",),
    "log-probabilities": ("nll", "kl"),
    "probabilities": ("categorical-crossentropy",),
}
"""What outputs are drawn as → the losses that are compared on them, the widest first: what agrees with cross-entropy on any numbers agrees with
the loss of log-probabilities on those, and for two classes binary cross-entropy is the categorical one on rows that sum to 1."""


def identified(criterion: Any, output: Any, target: Any) -> str:
    """The name whose loss equals the criterion's (relative difference below 1e-4) on random outputs of the shape of `output`, with the targets
    given; "" where none does. Equality is looked for where the loss is defined: on logits and values, on rows of shares that sum to 1, on
    their logarithms, or on shares alone."""
    import torch

    if not isinstance(output, torch.Tensor) or not isinstance(target, torch.Tensor) or not output.is_floating_point():
        return ""
    axis = class_axis(output, target)
    with seeded(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for domain, names in _DOMAINS.items():
            if domain in ("probabilities", "log-probabilities") and (output.ndim < 2 or output.shape[axis] < 2):
                continue
            draws = [_drawn(domain, output, axis) for _ in range(_DRAWS)]
            theirs = [_value(criterion, draw, target) for draw in draws]
            if any(value is None for value in theirs):
                continue
            for name in names:
                if _agree(theirs, [_value(NAMED[name], draw, target) for draw in draws]):
                    return name
    return ""


def _drawn(domain: str, output: Any, axis: int) -> Any:
    import torch

    logits = torch.randn(output.shape, device=output.device).to(output.dtype)
    if domain == "probabilities":
        return logits.softmax(axis)
    if domain == "log-probabilities":
        return logits.log_softmax(axis)
    return logits.sigmoid() if domain == "shares" else logits


def _value(criterion: Any, output: Any, target: Any) -> float | None:
    """None where the criterion breaks down or gives no finite number."""
    try:
        value = float(criterion(output, target))
    except Exception:  # whatever the user's code raises on outputs that it is not meant for
        return None
    return value if math.isfinite(value) else None


def _agree(theirs: list[float | None], ours: list[float | None]) -> bool:
    return all(
        left is not None and right is not None and abs(left - right) <= _TOLERANCE * max(abs(right), 1e-3)
        for left, right in zip(theirs, ours, strict=True)
    )
