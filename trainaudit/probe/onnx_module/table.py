"""The operators of ai.onnx that the module can run: name → function on torch tensors (see `values` and `binding` for what its signature says)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainaudit.probe.onnx_module import (
    attention,
    casting,
    elementwise,
    indexing,
    linear,
    normalization,
    pooling,
    quantization,
    recurrent,
    reduction,
    resizing,
    sampling,
    sequence,
    shaping,
)

TABLE: dict[str, Callable[..., Any]] = {
    name: function
    for family in (
        elementwise, casting, shaping, indexing, reduction, linear, pooling, normalization, recurrent, attention, quantization,
        sequence, resizing, sampling,
    )
    for name, function in family.OPERATORS.items()
}  # fmt: skip

CONTROL_FLOW = frozenset({"If", "LoopExit", "SequenceMap"})
"""Run by `control`."""
