"""What is computed of one activation and of its gradient, on the device and without waiting for it. torch is imported at module level: import this
file inside functions.

Sums are over every n-th sample, as many as stay in a processor's cache, and in float64, so that neither a gradient of 1e-30 nor an activation of 1e30 is
lost in its square; extrema are over the full tensor, by unit. Kernels are those that torch computes fast on a CPU (`sign · sign` for counts: comparing
and counting bits takes five times as long).
"""

from __future__ import annotations

import math
from typing import Any

import torch

from trainaudit.ir.ops import Op
from trainaudit.probe.layout import (
    BINS,
    GRADIENT_KEPT,
    GRADIENT_NONZERO,
    GRADIENT_SQUARES,
    NON_FINITE,
    NONZERO,
    OVERFLOW,
    RANK_COLUMNS,
    RANK_ROWS,
    SATURATED,
    SATURATION,
    SQUARES,
    SUM,
)

CAP = 32_768
"""Elements that sums are over: 256 KiB in float64, which stays in a second-level cache."""

LEAST_SAMPLES = 4
"""Samples that sums are over at least, however large each one is."""

HALF_MOST = 65504.0
"""Largest finite float16."""

HALF_LEAST = 2.0**-24
"""Smallest positive float16 (a subnormal)."""

_BELOW_HALF_LEAST = math.nextafter(HALF_LEAST, 0.0)


def sample_of(tensor: Any) -> Any:
    """Every n-th sample, in one piece, as float64 (float32 where the device has no float64)."""
    count = tensor.shape[0]
    wanted = max(CAP * count // tensor.numel(), LEAST_SAMPLES)
    if wanted < count:
        tensor = tensor[:: -(-count // wanted)]
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64).reshape(-1)


def read_activation(output: Any, op: Op, axis: int, numbers: Any, highs: Any, lows: Any) -> Any:
    """Write the sums, counts and extrema of an output into its slots; what it returns is the sample that the sums are over."""
    sample = sample_of(output)
    torch.sum(sample, 0, out=numbers[SUM])
    torch.dot(sample, sample, out=numbers[SQUARES])
    signs = sample.sign()
    torch.dot(signs, signs, out=numbers[NONZERO])
    middle = SATURATION.get(op)
    if middle is not None:
        signs = torch.nn.functional.hardshrink(sample - middle[0] if middle[0] else sample, middle[1]).sign_()
        torch.dot(signs, signs, out=numbers[SATURATED])
    high, low = _extrema(output, axis)
    highs.copy_(high)
    lows.copy_(low)
    if output.device.type != "cpu" or not _fits_half(high, low):
        magnitudes = output.abs()
        numbers[NON_FINITE].copy_(output.numel() - torch.isfinite(magnitudes).sum())
        numbers[OVERFLOW].copy_((magnitudes > HALF_MOST).sum())
    return sample


def read_gradient(gradient: Any, numbers: Any) -> Any:
    """Write the sums and counts of ∂loss/∂output into its slots."""
    sample = sample_of(gradient)
    torch.dot(sample, sample, out=numbers[GRADIENT_SQUARES])
    count_underflow(sample, numbers[GRADIENT_NONZERO], numbers[GRADIENT_KEPT])
    return sample


def count_underflow(sample: Any, nonzero: Any, kept: Any) -> None:
    """How many values are not 0, and how many of those float16 can hold."""
    signs = sample.sign()
    torch.dot(signs, signs, out=nonzero)
    signs = torch.nn.functional.hardshrink(sample, _BELOW_HALF_LEAST).sign_()
    torch.dot(signs, signs, out=kept)


def _fits_half(high: Any, low: Any) -> bool:
    """Whether all is finite and representable in float16: on a CPU alone, where looking costs no waiting."""
    return bool(low.min().item() >= -HALF_MOST and high.max().item() <= HALF_MOST)


def _extrema(output: Any, axis: int) -> tuple[Any, Any]:
    """Largest and smallest value of each unit."""
    rank = output.ndim
    if rank == 1:
        return output, output
    if axis == rank - 1 and output.is_contiguous():
        rows = output.view(-1, output.shape[-1])
        return rows.amax(0), rows.amin(0)
    if axis == 1 and output.is_contiguous():
        planes = output.view(output.shape[0], output.shape[1], -1)
        return planes.amax(2).amax(0), planes.amin(2).amin(0)
    others = [place for place in range(rank) if place != axis]
    return output.amax(others), output.amin(others)


def gram_of(output: Any, axis: int) -> Any:
    """Products of at most `RANK_ROWS` centred rows of units with each other, evenly taken from all samples and places: its eigenvalues are the
    squared singular values of those rows."""
    wide = output[:: -(-output.shape[0] // RANK_ROWS)]
    rows = wide.movedim(axis, -1).reshape(-1, output.shape[axis])
    rows = rows[:: max(rows.shape[0] // RANK_ROWS, 1)][:RANK_ROWS, :: -(-rows.shape[1] // RANK_COLUMNS)]
    rows = rows.to(torch.float32 if rows.device.type == "mps" else torch.float64)
    rows = rows - rows.mean(0)
    return (rows @ rows.T).reshape(-1)


def histogram_of(sample: Any, *, of_logarithm: bool = False) -> Any:
    """(low, high, counts …) of the values, or of log10 |value| where it is not 0; NaN is left out, infinities are in the end bins."""
    values = sample.abs().log10() if of_logarithm else sample
    counted = torch.isfinite(values) if of_logarithm else ~torch.isnan(values)
    finite = torch.where(torch.isfinite(values), values, torch.nan)
    low = torch.where(torch.isnan(finite), torch.inf, finite).amin()
    high = torch.where(torch.isnan(finite), -torch.inf, finite).amax()
    places = ((values - low) * (BINS / (high - low).clamp_min(1e-300))).nan_to_num(0.0).clamp(0, BINS - 1).long()
    counts = torch.zeros(BINS, dtype=sample.dtype, device=sample.device).scatter_add_(
        0, places, counted.to(sample.dtype)
    )
    return torch.cat([low[None], high[None], counts])
