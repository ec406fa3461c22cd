"""Statistics of activations over batches, by numpy: the forward half of what the instruments of a training run give. No torch."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np

from trainaudit.ir.ops import RECTIFIERS, Op
from trainaudit.probe.details import effective_rank
from trainaudit.probe.layout import BINS, RANK_COLUMNS, RANK_ROWS, SATURATION, rank_bound
from trainaudit.trace.trace import ActivationSeries, Histogram, Number, Tap

HALF_MOST = 65504.0
"""Largest finite float16."""
_SERIES = (
    "mean", "std", "rms", "absmax", "zero_share", "saturated_share", "non_finite", "half_overflow_share", "effective_rank",
)  # fmt: skip


class Statistics:
    """Of one layer's output. `add` takes one batch after the other, `series` gives what came of them."""

    def __init__(self, op: Op) -> None:
        self.op = op
        self.columns: dict[str, list[Number]] = defaultdict(list)
        self.active: list[Any] = []
        self.varied: Any = None
        self.samples = 0
        self.bound = 0
        self.histograms: list[Histogram] = []

    def add(self, output: Any, axis: int) -> None:
        """One batch; `axis` counts the units. Values that are not finite count, and are left out of the rest."""
        values = output.astype(np.float64, copy=False)
        is_finite = np.isfinite(values)
        finite = values if is_finite.all() else values[is_finite]
        size = values.size
        numbers: dict[str, Number] = dict.fromkeys(_SERIES)
        numbers["non_finite"] = float(size - finite.size)
        with np.errstate(all="ignore"):
            if finite.size == size:
                mean, power = float(finite.mean()), float(np.square(finite).mean())
                numbers |= {"mean": mean, "std": float(finite.std()), "rms": math.sqrt(power)}
            magnitudes = np.abs(values)
            numbers["absmax"] = float(np.max(magnitudes))
            numbers["zero_share"] = float(np.count_nonzero(values == 0) / size)
            numbers["half_overflow_share"] = float(np.count_nonzero(magnitudes > HALF_MOST) / size)
            if self.op in SATURATION:
                middle, distance = SATURATION[self.op]
                numbers["saturated_share"] = float(np.count_nonzero(np.abs(values - middle) > distance) / size)
            self._add_units(np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis]))
            numbers["effective_rank"] = self._rank(values, axis) if finite.size == size else None
        for name, value in numbers.items():
            self.columns[name].append(value)
        self.samples += values.shape[0]
        if finite.size:
            counts, edges = np.histogram(finite, BINS)
            del self.histograms[1:]
            self.histograms.append(Histogram(float(edges[0]), float(edges[-1]), tuple(counts.tolist())))

    def _add_units(self, rows: Any) -> None:
        highs, lows = rows.max(0), rows.min(0)
        self.active.append(highs > 0)
        varied = highs != lows
        self.varied = varied if self.varied is None or len(self.varied) != len(varied) else self.varied | varied

    def _rank(self, values: Any, axis: int) -> Number:
        """As the instruments have it (`readings.gram_of`): of at most 64 centred rows, evenly taken from all samples and places."""
        view = values[:: -(-values.shape[0] // RANK_ROWS)] if axis else values[None]
        samples, units = view.shape[0], values.shape[axis]
        view = np.moveaxis(view, axis if axis else 1, -1).reshape(samples, -1, units)
        view = view[:, :: -(-view.shape[1] // (RANK_ROWS // samples)), :: -(-units // RANK_COLUMNS)]
        rows = view.reshape(-1, view.shape[-1])
        rows = rows - rows.mean(0)
        self.bound = rank_bound(len(rows), units)
        found = effective_rank(rows @ rows.T)
        return found if math.isfinite(found) else None

    def series(self, tap: Tap) -> ActivationSeries:
        units = len(self.active[-1])
        active = [mask for mask in self.active if len(mask) == units]
        quarter = max(len(active) // 4, 1)

        def silent(part: list[Any]) -> float | None:
            return float(1 - np.logical_or.reduce(part).mean()) if self.op in RECTIFIERS else None

        columns: dict[str, Any] = {name: tuple(column) for name, column in self.columns.items()}
        if self.op not in SATURATION:
            columns["saturated_share"] = ()
        return ActivationSeries(
            tap=tap,
            **columns,
            effective_rank_bound=float(self.bound) or None,
            unit_count=units,
            silent_share=silent(active),
            silent_share_first=silent(active[:quarter]),
            silent_share_last=silent(active[-quarter:]),
            constant_share=float(1 - self.varied.mean()),
            samples_seen=self.samples,
            histogram_first=self.histograms[0] if self.histograms else None,
            histogram_last=self.histograms[-1] if self.histograms else None,
        )
