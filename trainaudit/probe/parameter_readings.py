"""Norms of parameters, gradients and updates of a step. torch is imported at module level: import this file inside functions.

On a CPU tensors are gone through one after the other, everything that is asked of one while it is in the cache, and in their own type, which takes a
third of the time; again in float64 where squares may have been lost or have overflowed. Elsewhere all at once (`_foreach`) and in float64 from the start,
since looking would mean waiting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from trainaudit.probe.layout import CAP
from trainaudit.probe.readings import copy_sample, count_nonzero, count_representable, sum_of_squares, wide


def norms(tensors: Sequence[Any]) -> Any:
    """L2 norms, one tensor on the device of the first."""
    if not tensors:
        return torch.zeros(0, dtype=torch.float64)
    device = tensors[0].device
    if device.type == "cpu":
        return torch.tensor([_norm(tensor) for tensor in tensors], dtype=torch.float64)
    kind = wide(device)
    return torch.stack([value.to(device, kind) for value in torch._foreach_norm(list(tensors), 2, dtype=kind)])


def _norm(tensor: Any) -> float:
    """Of a tensor on the CPU."""
    return math.sqrt(sum_of_squares(tensor))


class GradientSamples:
    """Counts over a bounded sample of each parameter's gradient, in buffers that are made once."""

    def __init__(self, count: int, device: Any) -> None:
        self.rows, self.scratch = torch.zeros(2, count, CAP, dtype=wide(device), device=device)
        self.views: list[dict[str, Any]] = [{} for _ in range(count)]

    def read(self, gradients: Sequence[Any], places: Sequence[int], *, is_detailed: bool) -> tuple[Any, Any, Any, Any]:
        """(norm, largest magnitude) of the gradients of the parameters at these places, and of all parameters (values of the sample that are not 0, values
        that float16 can hold); all but the norm are NaN where the step is not read in detail."""
        lengths, largest = [], []
        device = self.rows.device
        for place, gradient in zip(places, gradients, strict=True):
            if device.type == "cpu":
                lengths.append(_norm(gradient))
            if is_detailed:
                row = gradient if gradient.ndim else gradient.reshape(1)
                copy_sample(row, 0, self.rows[place], self.views[place], "gradient")
                least, most = gradient.aminmax()
                largest.append(torch.maximum(most, -least).to(self.rows.dtype))
        nonzero, kept = torch.full((2, len(self.rows)), torch.nan, dtype=self.rows.dtype, device=device)
        if is_detailed:
            count_nonzero(self.rows, self.scratch, nonzero)
            count_representable(self.rows, self.scratch, kept)
        extremes = (
            torch.stack(largest)
            if largest
            else torch.full((len(gradients),), torch.nan, dtype=nonzero.dtype, device=device)
        )
        found = torch.tensor(lengths, dtype=torch.float64) if device.type == "cpu" else norms(gradients)
        return found, extremes, nonzero, kept


class Snapshot:
    """The weights before a step."""

    def __init__(self, parameters: Sequence[Any]) -> None:
        self.parameters = [parameter.detach() for parameter in parameters]
        self.kept = [torch.empty(item.shape, dtype=item.dtype, device=item.device) for item in self.parameters]
        self.is_on_cpu = all(item.device.type == "cpu" for item in self.kept)

    def take(self) -> Any:
        """Keep the weights as they are now; their norms."""
        if self.is_on_cpu:
            pairs = zip(self.kept, self.parameters, strict=True)
            return torch.tensor([_norm(kept.copy_(now)) for kept, now in pairs], dtype=torch.float64)
        torch._foreach_copy_(self.kept, self.parameters)
        return norms(self.kept)

    def changes(self) -> tuple[list[Any], Any]:
        """w before − w now, in the place of the snapshot, and its norms."""
        if self.is_on_cpu:
            pairs = zip(self.kept, self.parameters, strict=True)
            return self.kept, torch.tensor([_norm(kept.sub_(now)) for kept, now in pairs], dtype=torch.float64)
        torch._foreach_sub_(self.kept, self.parameters)
        return self.kept, norms(self.kept)


def along(changes: Sequence[Any], gradients: Sequence[Any]) -> Any:
    """Δw · ∂loss/∂w of each parameter, from w before − w now."""
    products = []
    for change, gradient in zip(changes, gradients, strict=True):
        kind = wide(change.device)
        products.append(-torch.dot(change.reshape(-1).to(kind), gradient.reshape(-1).to(kind)))
    return torch.stack([product.to(changes[0].device) for product in products])


def dense(gradient: Any) -> Any:
    """A gradient of an embedding may be sparse."""
    return gradient.to_dense() if gradient.layout is not torch.strided else gradient


def is_equal(left: Any, right: Any) -> bool:
    """Bit for bit: NaN equals itself, 0 is not −0."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    pair = (side.reshape(-1).contiguous().view(torch.uint8) for side in (left, right))
    return bool(torch.equal(*pair))
