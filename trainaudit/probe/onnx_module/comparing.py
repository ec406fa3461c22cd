"""How far two runtimes' results lie apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from trainaudit.probe.onnx_module.values import Tensor

_MASKED = 1e30
"""Beyond it a number stands for infinity: masks are written with either."""


def is_finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(is_finite(item) for item in value)
    return not isinstance(value, Tensor) or not value.is_floating_point() or bool(torch.isfinite(value.float()).all())


def difference(mine: Any, theirs: Any) -> float:
    """The largest absolute difference over the largest finite magnitude of `theirs`; infinite where shapes, types, NaN or infinities differ.

    Sequences are compared by their elements, booleans and strings for being equal.
    """
    if isinstance(theirs, list) or isinstance(mine, list):
        if not isinstance(mine, list) or not isinstance(theirs, list) or len(mine) != len(theirs):
            return float("inf")
        return max((difference(one, other) for one, other in zip(mine, theirs, strict=True)), default=0.0)
    if mine is None or theirs is None:
        return 0.0 if mine is None and theirs is None else float("inf")
    expected = np.asarray(theirs)
    if not isinstance(mine, Tensor) or tuple(mine.shape) != expected.shape:
        return float("inf")
    if str(mine.dtype).removeprefix("torch.") != expected.dtype.name:
        return float("inf")
    if expected.dtype.kind in "biu":
        left, right = (np.asarray(side).astype(np.float64) for side in (mine.detach().cpu().numpy(), expected))
    else:
        kind = torch.complex128 if mine.is_complex() else torch.float64
        left = mine.detach().cpu().to(kind).numpy()
        right = expected.astype(left.dtype)
        if not mine.is_complex():
            left, right = (np.where(np.abs(side) > _MASKED, np.copysign(np.inf, side), side) for side in (left, right))
    if left.size == 0:
        return 0.0
    odd = ~np.isfinite(right)
    if not np.array_equal(left[odd], right[odd], equal_nan=True) or not np.isfinite(left[~odd]).all():
        return float("inf")
    if odd.all():
        return 0.0
    scale = float(np.abs(right[~odd]).max())
    return float(np.abs(left[~odd] - right[~odd]).max()) / (scale or 1.0)
