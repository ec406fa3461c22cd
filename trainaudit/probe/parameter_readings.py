"""Norms of parameters, gradients and updates of a step. torch is imported at module level: import this file inside functions.

The update is exact: the weights before the step are kept in a snapshot that is made once and written over at each sampled step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from trainaudit.probe.readings import count_underflow, sample_of


def norms(tensors: Sequence[Any]) -> Any:
    """L2 norms as float64, one tensor on the device of the first.

    On a CPU in the tensors' own type, which takes a third of the time, and again in float64 where squares may have been lost or have overflowed; elsewhere
    in float64 at once, since looking would mean waiting.
    """
    if not tensors:
        return torch.zeros(0, dtype=torch.float64)
    device = tensors[0].device
    if device.type == "mps":
        return torch.stack(torch._foreach_norm(list(tensors), 2)).float()
    if device.type != "cpu":
        return _stacked(torch._foreach_norm(list(tensors), 2, dtype=torch.float64), device)
    found = [float(value) for value in torch._foreach_norm([_summable(tensor) for tensor in tensors], 2)]
    for place, value in enumerate(found):
        if not 1e-15 < value < 1e18:
            found[place] = float(torch.linalg.vector_norm(tensors[place], dtype=torch.float64))
    return torch.tensor(found, dtype=torch.float64)


def _summable(tensor: Any) -> Any:
    """float16 and bfloat16 add up their squares in float32."""
    return tensor.float() if tensor.element_size() < 4 else tensor


def _stacked(values: Sequence[Any], device: Any) -> Any:
    kind = torch.float32 if device.type == "mps" else torch.float64
    return torch.stack([value.to(device, kind) for value in values])


def read_gradients(gradients: Sequence[Any]) -> tuple[Any, Any, Any]:
    """(largest magnitude, values that are not 0, values of them that float16 can hold) of each; the counts are over a bounded sample."""
    dtype = torch.float32 if gradients and gradients[0].device.type == "mps" else torch.float64
    device = gradients[0].device if gradients else "cpu"
    count = len(gradients)
    absmax, nonzero, kept = torch.zeros(3, count, dtype=dtype, device=device)
    for place, gradient in enumerate(gradients):
        least, most = gradient.aminmax()
        torch.maximum(most, least.neg_(), out=least)
        absmax[place].copy_(least)
        sample = sample_of(gradient) if gradient.ndim else gradient.to(dtype).reshape(1)
        count_underflow(sample, nonzero[place], kept[place])
    return absmax, nonzero, kept


class Snapshot:
    """The weights before a step."""

    def __init__(self, parameters: Sequence[Any]) -> None:
        self.parameters = [parameter.detach() for parameter in parameters]
        self.kept = [torch.empty_like(parameter) for parameter in self.parameters]

    def take(self) -> None:
        if self.kept:
            torch._foreach_copy_(self.kept, self.parameters)

    def changes(self) -> list[Any]:
        """w before − w now, in the place of the snapshot."""
        if self.kept:
            torch._foreach_sub_(self.kept, self.parameters)
        return self.kept


def along(changes: Sequence[Any], gradients: Sequence[Any]) -> Any:
    """Δw · ∂loss/∂w of each parameter, from w before − w now; 0 where there is no gradient."""
    products = []
    for change, gradient in zip(changes, gradients, strict=True):
        if gradient is None:
            products.append(torch.zeros((), dtype=torch.float64))
            continue
        left, right = change.reshape(-1), dense(gradient).reshape(-1)
        product = torch.dot(left, right.to(left.dtype)) if change.device.type == "cpu" else None
        if product is None or not 1e-30 < abs(product.item()) < 1e30:
            kind = torch.float32 if change.device.type == "mps" else torch.float64
            product = torch.dot(left.to(kind), right.to(kind))
        products.append(-product)
    return _stacked(products, changes[0].device) if products else torch.zeros(0)


def dense(gradient: Any) -> Any:
    """A gradient of an embedding may be sparse."""
    return gradient.to_dense() if gradient.layout is not torch.strided else gradient


def is_equal(left: Any, right: Any) -> bool:
    """Bit for bit: NaN equals itself, 0 is not −0."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    pair = (side.reshape(-1).contiguous().view(torch.uint8) for side in (left, right))
    return bool(torch.equal(*pair))
