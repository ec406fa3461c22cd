"""What a step that was read in detail says beside its numbers: histograms, effective ranks and shares that float16 would lose, from bounded samples as they
came off the device. numpy only."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainaudit.probe.layout import BINS
from trainaudit.trace.trace import Histogram

HALF_LEAST = 2.0**-24
"""Smallest positive float16 (a subnormal)."""


@dataclass(frozen=True, slots=True)
class Detail:
    """Samples of one step. `values` and `gradients` are (taps, `CAP`), 0 behind the last of the sample, `parameter_gradients` (parameters, `CAP`) likewise;
    `sizes` says how many values of a tap were read, `with_gradient` which taps had one, `grams` has the products of some centred rows of its units."""

    sizes: Mapping[int, int]
    with_gradient: Collection[int]
    values: Any
    gradients: Any
    parameter_gradients: Any
    grams: Mapping[int, Any]


@dataclass(frozen=True, slots=True)
class Digest:
    """What came of them, by tap: (effective rank, rows), and histograms of values and of log10 |gradient|; and arrays of underflow shares."""

    ranks: Mapping[int, tuple[float, int]]
    histograms: Mapping[tuple[int, str], Histogram]
    underflow: Any
    parameter_underflow: Any


def digest(detail: Detail, *, with_histograms: bool = True) -> Digest:
    with np.errstate(all="ignore"):
        return Digest(
            ranks={number: (effective_rank(gram), len(gram)) for number, gram in detail.grams.items()},
            histograms=_histograms(detail) if with_histograms else {},
            underflow=underflow_shares(detail.gradients),
            parameter_underflow=underflow_shares(detail.parameter_gradients),
        )


def _histograms(detail: Detail) -> dict[tuple[int, str], Histogram]:
    found: dict[tuple[int, str], Histogram | None] = {}
    for number, size in detail.sizes.items():
        found[number, "values"] = histogram(detail.values[number, :size])
    for number in detail.with_gradient:
        logarithms = np.log10(np.abs(detail.gradients[number]))
        found[number, "gradients"] = histogram(logarithms[np.isfinite(logarithms)])
    return {key: one for key, one in found.items() if one is not None}


def histogram(values: Any) -> Histogram | None:
    """Of the values that are numbers; infinities are in the end bins. None where no value is finite."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, high = float(finite.min()), float(finite.max())
    if len(finite) < len(values):
        values = np.clip(values[~np.isnan(values)], low, high)
    if low == high:
        return Histogram(low, high, (len(values), *[0] * (BINS - 1)))
    counts = np.bincount(np.minimum((values - low) * (BINS / (high - low)), BINS - 1).astype(np.intp), minlength=BINS)
    return Histogram(low, high, tuple(counts.tolist()))


def underflow_shares(samples: Any) -> Any:
    """By row, the share of the values other than 0 that float16 cannot hold; NaN where there are none, and where one is no number."""
    magnitudes = np.abs(samples)
    nonzero = np.count_nonzero(magnitudes, axis=-1)
    shares = (nonzero - np.count_nonzero(magnitudes >= HALF_LEAST, axis=-1)) / nonzero
    return np.where(np.isnan(magnitudes.max(axis=-1, initial=0.0)), np.nan, shares)


def effective_rank(gram: Any) -> float:
    """exp(entropy) of the normalized eigenvalues of a Gram matrix (Roy & Vetterli 2007); NaN where all are 0 or one is not finite."""
    if not np.isfinite(gram).all():
        return math.nan
    values = np.maximum(np.linalg.eigvalsh(gram), 0.0)
    values = values[values > values.max(initial=0.0) * 1e-12]
    if not len(values):
        return math.nan
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
