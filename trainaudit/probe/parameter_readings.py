"""Norms of parameters, gradients and updates of a step. torch is imported at module level: import this file inside functions.

Gradients are read whole at every step: their norm also guards against numbers that are not finite, which a sample would miss. Weights and updates of large
tensors are estimated from a sample of blocks (`Samples`): copying them whole before each step, and going through them again after it, would cost more than
everything else that is read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch

from trainaudit.probe.layout import BLOCK, BLOCKS, CAP, WHOLE
from trainaudit.probe.readings import copy_sample, waits, wide

_LEAST, _MOST = 1e-15, 1e15
"""Norms beyond are computed again in float64: float32 has lost squares of small numbers, or those of large ones have overflowed."""


def norms(tensors: Sequence[Any]) -> Any:
    """L2 norms, one tensor on the device of the first. On a CPU in the tensors' own type, which takes a tenth of the time; elsewhere in float64
    (float32 where the device has no float64) from the start, since looking would mean waiting."""
    if not tensors:
        return torch.zeros(0, dtype=torch.float64)
    if waits(tensors[0]):
        device = tensors[0].device
        kind = wide(device)
        return torch.stack([value.to(device, kind) for value in torch._foreach_norm(list(tensors), 2, dtype=kind)])
    lengths = [value.item() for value in torch._foreach_norm(list(tensors), 2)]
    for place, length in enumerate(lengths):
        if not _LEAST < length < _MOST or tensors[place].element_size() < 4:
            lengths[place] = _wide_norm(tensors[place])
    return torch.tensor(lengths, dtype=torch.float64)


def _wide_norm(tensor: Any) -> float:
    """Of a tensor on the CPU. Most of those whose norm is 0 are 0."""
    low, high = tensor.aminmax() if tensor.numel() else (0.0, 0.0)
    return 0.0 if low == 0.0 == high else float(torch.linalg.vector_norm(tensor, dtype=torch.float64))


class Samples:
    """The weights before a step: of a parameter of up to `WHOLE` values all of them, and of a larger one `BLOCKS` blocks of `BLOCK` values next to each
    other, one drawn at random from each of as many equal parts of it, once. Sums over the sample, times the share that it is of, are unbiased
    estimates over the draws; the relative standard error of a norm is 1/√(2n) for n independent values like in size, 0.8 %, and √((κ − 1)/4n) where their kurtosis is κ.

    Parameters in `whole` (by place) are always kept whole: the rows of an embedding that a batch does not read do not change, so that few values carry the norm.
    """

    def __init__(self, parameters: Sequence[Any], whole: Collection[int] = ()) -> None:
        self.parameters = parameters
        generator = torch.Generator().manual_seed(0)
        self.blocks: dict[int, Any] = {}
        for place, item in enumerate(parameters):
            if item.numel() > WHOLE and place not in whole:
                part = item.numel() // BLOCK / BLOCKS
                drawn = (torch.arange(BLOCKS) + torch.rand(BLOCKS, generator=generator, dtype=torch.float64)) * part
                self.blocks[place] = drawn.long().to(item.device)
        self.kept = [
            torch.empty((BLOCKS, BLOCK) if place in self.blocks else item.shape, dtype=item.dtype, device=item.device)
            for place, item in enumerate(parameters)
        ]
        rest = [place for place in range(len(parameters)) if place not in self.blocks]
        self.rest, self.rest_kept = [parameters[place] for place in rest], [self.kept[place] for place in rest]
        self.views: dict[int, tuple[int, Any]] = {}
        self.scales = [item.numel() / max(kept.numel(), 1) for item, kept in zip(parameters, self.kept, strict=True)]
        device = parameters[0].device if parameters else "cpu"
        self.roots = torch.tensor(self.scales, dtype=wide(device)).sqrt_().to(device)

    def sampled_count(self, place: int) -> int | None:
        """Values of this parameter that are read, None where it is all of them."""
        return BLOCKS * BLOCK if place in self.blocks else None

    def take(self) -> Any:
        """Keep the weights as they are now; their norms."""
        if self.rest:
            torch._foreach_copy_(self.rest_kept, self.rest)
        for place, drawn in self.blocks.items():
            torch.index_select(self._in_blocks(place), 0, drawn, out=self.kept[place])
        return norms(self.kept).mul_(self.roots)

    def changes(self) -> Any:
        """The norms of w before − w now, which takes the place of what was kept."""
        if self.rest:
            torch._foreach_sub_(self.rest_kept, self.rest)
        for place, drawn in self.blocks.items():
            self.kept[place].sub_(torch.index_select(self._in_blocks(place), 0, drawn))
        return norms(self.kept).mul_(self.roots)

    def along(self, gradients: Sequence[Any], places: Sequence[int]) -> Any:
        """After `changes`: (Δw · g, ‖Δw‖, ‖g‖) over the parameters at these places, g their gradients; all three from the same values, so that
        a step straight down the gradient has the cosine −1."""
        sums = []
        for place, gradient in zip(places, gradients, strict=True):
            if place in self.blocks:
                gradient = torch.index_select(_in_blocks(gradient, self.parameters[place]), 0, self.blocks[place])
            kind = wide(gradient.device)
            change, gradient = self.kept[place].reshape(-1).to(kind), gradient.reshape(-1).to(kind)
            products = torch.stack(
                [torch.dot(change, gradient), torch.dot(change, change), torch.dot(gradient, gradient)]
            )
            sums.append(products.mul_(self.scales[place]).to(self.kept[0].device))
        product, change, gradient = torch.stack(sums).sum(0)
        return torch.stack([-product, change.sqrt(), gradient.sqrt()])

    def _in_blocks(self, place: int) -> Any:
        """Of a parameter as it is now; made anew only where its memory is another."""
        item = self.parameters[place]
        pointer, view = self.views.get(place, (None, None))
        if pointer != item.data_ptr():
            view = _in_blocks(item)
            if view.data_ptr() == item.data_ptr():  # and no copy
                self.views[place] = item.data_ptr(), view
        return view


def _in_blocks(tensor: Any, like: Any = None) -> Any:
    """(blocks, `BLOCK`) view of a tensor in the order of its memory, or of that of another one of its shape; its last few values are left out."""
    like = tensor if like is None else like
    order = sorted(range(like.ndim), key=lambda axis: -like.stride(axis))
    flat = tensor.detach().permute(order).reshape(-1)
    return flat[: flat.numel() // BLOCK * BLOCK].view(-1, BLOCK)


class GradientSamples:
    """A bounded sample of each parameter's gradient, in buffers that are made once."""

    def __init__(self, count: int, device: Any) -> None:
        self.rows = torch.zeros(count, CAP, dtype=wide(device), device=device)
        self.views: list[dict[str, Any]] = [{} for _ in range(count)]

    def read(self, gradients: Sequence[Any], places: Sequence[int]) -> Any:
        """The largest magnitudes of the gradients of the parameters at these places."""
        largest = []
        for place, gradient in zip(places, gradients, strict=True):
            if not gradient.numel():
                largest.append(self.rows.new_zeros(()))
                continue
            row = gradient if gradient.ndim else gradient.reshape(1)
            copy_sample(row, 0, self.rows[place], self.views[place], "gradient")
            least, most = gradient.aminmax()
            largest.append(torch.maximum(most, -least).to(self.rows.dtype))
        return torch.stack(largest) if largest else self.rows.new_zeros(0)


def dense(gradient: Any) -> Any:
    """A gradient of an embedding may be sparse."""
    return gradient.to_dense() if gradient.layout is not torch.strided else gradient


def is_equal(left: Any, right: Any) -> bool:
    """Bit for bit: NaN equals itself, 0 is not −0."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    pair = (side.reshape(-1).contiguous().view(torch.uint8) for side in (left, right))
    return bool(torch.equal(*pair))
