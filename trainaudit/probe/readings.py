"""What is computed of one activation and of its gradient, on the device and without waiting for it. torch is imported at module level: import this
file inside functions.

Sums over activations are over some samples (and some rows of each, where samples are large); those over gradients, which a few samples or one position may
have to themselves, are over the full tensor, as are extrema. Sums are in float64, or again in float64 where float32 has lost or overflowed, so that neither
a gradient of 1e-30 nor an activation of 1e30 is lost in its square. Between two layers a processor's caches hold the layers, not the instruments: each call
costs some ten microseconds there, so that few calls matter more than little arithmetic.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from trainaudit.ir.ops import RECTIFIERS, Op
from trainaudit.probe.layout import CAP, NON_FINITE, OVERFLOW, RANK_COLUMNS, RANK_ROWS, SAMPLES

if TYPE_CHECKING:
    from trainaudit.probe.slots import Slot

HALF_MOST = 65504.0
"""Largest finite float16."""

_NOT_NEGATIVE = frozenset({Op.RELU, Op.RELU6})
"""Rectifiers whose smallest value tells nothing."""


def waits(tensor: Any) -> bool:
    """Whether looking at a number of the tensor would wait for the device that computes it."""
    return bool(tensor.device.type != _HOST)


_HOST = "cpu"


def wide(device: Any) -> Any:
    """The widest type of numbers that the device has."""
    return torch.float32 if torch.device(device).type == "mps" else torch.float64


def read_activation(output: Any, axis: int, slot: Slot) -> int:
    """Write an output's sample and extrema into its slots, where gradients are off; the number of values in the sample.

    Once all units have varied (`slot.has_varied`), extrema by unit are of no more use, but to rectifiers, whose units may fall silent.
    """
    size = copy_sample(output, axis, slot.sample, slot.views, "sample")
    units = 1 if slot.has_varied and slot.op not in RECTIFIERS else slot.units
    if units == 1:
        _extrema(output, slot)
    else:
        _by_unit(output, axis, torch.amax, slot.highs)
        if not (slot.has_varied and slot.op in _NOT_NEGATIVE):
            _by_unit(output, axis, torch.amin, slot.lows)
    if slot.seen is None or not _fits_half(slot.seen, units):
        magnitudes = output.abs()
        slot.numbers[NON_FINITE] = output.numel() - torch.isfinite(magnitudes).sum()
        slot.numbers[OVERFLOW] = (magnitudes > HALF_MOST).sum()
    return size


def sum_of_squares(tensor: Any) -> Any:
    """A number on a CPU, where looking costs no waiting: in the tensor's own type, and again in float64 where that has lost or overflowed. Elsewhere
    a tensor, in float64 at once (float32 where the device has no float64)."""
    if waits(tensor):
        return torch.linalg.vector_norm(tensor, dtype=wide(tensor.device)).square_()
    if tensor.element_size() >= 4:
        flat = tensor.reshape(-1)
        found = torch.dot(flat, flat).item()
        if 1e-30 < found < 1e30:
            return found
    return torch.linalg.vector_norm(tensor, dtype=torch.float64).item() ** 2


# --- samples -------------------------------------------------------------------------------------------------------------


def copy_sample(tensor: Any, axis: int, row: Any, views: dict[str, Any], name: str) -> int:
    """Copy some values of a tensor to the beginning of a row, which is 0 behind them; how many. `views` keeps, by name, how they are found, for as long
    as the tensor's shape stays the same."""
    key = (tensor.shape, tensor.stride())
    known = views.get(name)
    if known is None or known[0] != key:
        row.zero_()  # a smaller batch must not leave values of a larger one behind it
        size, steps, first = spread(*key, axis)
        count = math.prod(size)
        known = views[name] = (key, size, steps, first, count, row[:count].view(size))
    _, size, steps, first, count, view = known
    view.copy_(tensor.as_strided(size, steps, tensor.storage_offset() + first))
    return count


def spread(shape: Any, strides: Any, axis: int) -> tuple[list[int], list[int], int]:
    """(size, strides, offset) of a view of at most `CAP` elements, evenly spread: of the samples along the first axis as many as there is place for and
    at least `SAMPLES`, then of each one evenly spread rows, and where one row is too long, parts of it."""
    size, steps, first = list(shape), list(strides), 0
    per_sample = math.prod(size[1:])
    count = min(size[0], max(SAMPLES, CAP // per_sample), CAP)
    wanted = {0: count}
    budget = CAP // count
    inner = sorted(range(1, len(size)), key=lambda place: (place == axis % len(size), -size[place]))
    for place in inner:  # the units' axis is the last to be thinned
        rest = per_sample // size[place]
        kept = max(min(size[place], budget // rest), 1)
        wanted[place] = kept
        per_sample = rest * kept
        if per_sample <= budget:
            break
    for place, kept in wanted.items():
        step = -(-size[place] // kept)
        if step > 1:
            start = (step - 1) // 2
            first += start * steps[place]
            size[place] = -(-(size[place] - start) // step)
            steps[place] *= step
    return size, steps, first


def count_nonzero(values: Any, scratch: Any, out: Any) -> None:
    """How many values are not 0 along the last axis. Signs are added up: comparing and counting takes a CPU five times as long."""
    signs = torch.sign(values, out=scratch).abs_()
    torch.sum(signs, -1, out=out)


# --- extrema -------------------------------------------------------------------------------------------------------------


def _fits_half(extrema: Any, units: int) -> bool:
    """Whether all is finite and representable in float16, from the highs and lows of so many units."""
    highs, lows = extrema
    high, low = (highs[0], lows[0]) if units == 1 else (np.maximum.reduce(highs), np.minimum.reduce(lows))
    return bool(low >= -HALF_MOST and high <= HALF_MOST)


def _extrema(output: Any, slot: Slot) -> None:
    """Write the largest and smallest value of all into the slots of the first unit."""
    if output.dtype is torch.float32:
        torch.aminmax(output, out=slot.first)
    else:
        for place, found in zip(slot.first, output.aminmax(), strict=True):
            place.copy_(found)


def _by_unit(output: Any, axis: int, extremum: Any, out: Any) -> None:
    """Write the largest or smallest value of each unit into its slots."""
    if output.ndim == 1:
        out.copy_(output)
        return
    places: Any = [place for place in range(output.ndim) if place != axis]
    if output.is_contiguous():
        if axis == output.ndim - 1:
            output, places = output.view(-1, output.shape[-1]), 0
        elif axis == 1:
            output, places = extremum(output.view(output.shape[0], output.shape[1], -1), 2), 0
    if output.dtype is torch.float32:
        extremum(output, places, out=out)
    else:
        out.copy_(extremum(output, places))


# --- in detail -----------------------------------------------------------------------------------------------------------


def gram_of(output: Any, axis: int, scratch: Any) -> Any:
    """Products of at most `RANK_ROWS` centred rows of at most `RANK_COLUMNS` units with each other, as many rows from each of evenly spread samples: its
    eigenvalues are the squared singular values of those rows. `scratch` has place for all of them."""
    view = output[:: -(-output.shape[0] // RANK_ROWS)] if axis else output[None]
    samples, units = view.shape[0], output.shape[axis]
    view = view.movedim(axis if axis else 1, -1).reshape(samples, -1, units)
    view = view[:, :: -(-view.shape[1] // (RANK_ROWS // samples)), :: -(-units // RANK_COLUMNS)]
    rows = scratch[: view.numel()].view(view.shape).copy_(view).flatten(0, 1)
    rows.sub_(rows.mean(0))
    return torch.mm(rows, rows.T)
