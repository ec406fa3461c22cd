"""What an optimizer is set to, read from its parameter groups. torch is not imported here."""

from __future__ import annotations

from typing import Any

_MAGNITUDES = {"exp_avg_sq", "square_avg", "exp_inf", "sum", "acc_delta", "row_var"}
"""Names under which torch's optimizers keep a running magnitude of the gradient."""


def learning_rate(optimizer: Any) -> float | None:
    """Of its first group."""
    rate = optimizer.param_groups[0].get("lr") if optimizer.param_groups else None
    return None if rate is None else float(rate)


def momentum(optimizer: Any) -> float | None:
    group = optimizer.param_groups[0]
    found = group["betas"][0] if "betas" in group else group.get("momentum")
    return None if found is None else float(found)


def weight_decay(optimizer: Any) -> float | None:
    """The largest of its groups."""
    found = [float(group["weight_decay"]) for group in optimizer.param_groups if group.get("weight_decay") is not None]
    return max(found, default=None)


def is_adaptive(optimizer: Any) -> bool:
    """It divides by a running gradient magnitude; known once it has made a step."""
    return any(_MAGNITUDES & set(state) for state in optimizer.state.values() if isinstance(state, dict))


def decayed_vector_count(optimizer: Any) -> int:
    """Parameters with one axis at most (biases, normalization scales) in groups with weight decay."""
    groups = [group for group in optimizer.param_groups if group.get("weight_decay")]
    return sum(parameter.ndim <= 1 for group in groups for parameter in group["params"])


def scale_rates(optimizer: Any, rate: float) -> None:
    """The first group gets `rate`, the others keep their ratio to it."""
    first = learning_rate(optimizer) or 0.0
    for group in optimizer.param_groups:
        group["lr"] = rate * (float(group["lr"]) / first if first else 1.0)


def without_weight_decay(optimizer: Any) -> Any:
    for group in optimizer.param_groups:
        if "weight_decay" in group:
            group["weight_decay"] = 0.0
    return optimizer
