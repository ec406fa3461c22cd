"""From the numbers that came off the device to the series of a `Trace`. numpy only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainaudit.ir.ops import RECTIFIERS, Op
from trainaudit.probe.layout import NUMBERS, SATURATION, SCALARS, rank_bound
from trainaudit.probe.matching import Call
from trainaudit.trace.trace import ActivationSeries, Histogram, Number, ParameterSeries, Series, Tap


@dataclass(frozen=True, slots=True)
class StepReadings:
    """A sampled step: for each tap that was read (elements summed over, all elements, samples), and gradient elements summed over."""

    index: int
    sizes: dict[int, tuple[int, int, int]]
    gradient_sizes: dict[int, int]
    with_gradient: frozenset[int] = frozenset()
    """Places of the parameters that had a gradient."""
    is_detailed: bool = True


@dataclass(frozen=True, slots=True)
class ParameterState:
    """What a parameter is, beside its norms."""

    trainable: bool
    in_optimizer: bool
    is_changed: bool
    touched: float | None = None


@dataclass(frozen=True, slots=True)
class Readings:
    """What the instruments give to a `Trace`: the sampled steps with their series, and the loss and the gradient's norm of each step."""

    sampled_steps: tuple[int, ...]
    activations: tuple[ActivationSeries, ...]
    parameters: tuple[ParameterSeries, ...]
    loss: Series
    gradient_norm: Series
    update_alignment: Series


PER_STEP = (
    "mean", "std", "rms", "absmax", "zero_share", "saturated_share", "non_finite", "half_overflow_share", "gradient_rms",
    "gradient_underflow_share",
)  # fmt: skip
"""Series of an activation, in the order of `_series`."""

ONLY_LAYERS = frozenset({Op.ADD, Op.MATMUL, Op.EINSUM})
"""Read where they are layers of the graph alone: additions and products are also spent on masks, positions and losses."""


class Record:
    """All that has landed. `calls` are those that are read, in the order of the slots; `layers` their names in the graph."""

    def __init__(self, names: Sequence[str], sizes: Sequence[int]) -> None:
        self.names, self.sizes = names, sizes
        self.calls: list[Call] = []
        self.layers: list[str] = []
        self.steps: list[StepReadings] = []
        self.units: tuple[int, ...] = ()
        self.scalars: list[Any] = []
        self.absmax: list[Any] = []
        self.active: list[Any] = []
        self.varied = np.zeros(0, bool)
        self.ranks: list[dict[int, tuple[float, int]]] = []
        self.histograms: dict[tuple[int, str], list[Histogram]] = {}
        self.tables: list[Any] = []
        self.alignment: list[Number] = []
        self.guards: list[tuple[int, float, float]] = []
        self.has_gradient: set[int] = set()
        self.noise: dict[int, dict[str, float]] = {}

    def land(self, step: StepReadings, units: tuple[int, ...], values: tuple[Any, Any, Any, Mapping[Any, Any]]) -> None:
        """Take in one sampled step, as `slots.Fetched` gives it."""
        scalars, highs, lows, extras = values
        self.steps.append(step)
        self.units = units
        self.scalars.append(scalars.copy())
        starts = np.cumsum((0, *units[:-1])) if units else np.zeros(0, int)
        largest = np.maximum(np.abs(highs), np.abs(lows))
        self.absmax.append(np.maximum.reduceat(largest, starts) if units else largest)
        self.active.append(highs > 0)
        varied = highs != lows
        varied[: len(self.varied)] |= self.varied
        self.varied = varied
        ranks: dict[int, tuple[float, int]] = {}
        for (number, kind), found in extras.items():
            if kind == "gram":
                rows = math.isqrt(len(found))
                ranks[number] = effective_rank(found.reshape(rows, rows)), rows
            elif kind in ("values", "gradients"):
                self._keep_histogram(number, kind, found)
        self.ranks.append(ranks)
        table = extras["", "parameters"].reshape(len(NUMBERS), -1)
        self.tables.append(table)
        self.alignment.append(_alignment(table, extras.get(("", "along"))))

    def _keep_histogram(self, number: int, kind: str, found: Any) -> None:
        """The first and the newest are kept."""
        low, high, *counts = found.tolist()
        if low <= high:
            kept = self.histograms.setdefault((number, kind), [])
            del kept[1:]
            kept.append(Histogram(low, high, tuple(int(count) for count in counts)))

    def readings(self, states: Sequence[ParameterState]) -> Readings:
        return Readings(
            sampled_steps=tuple(step.index for step in self.steps),
            activations=tuple(self._activations()),
            parameters=tuple(self._parameter(place, state) for place, state in enumerate(states)),
            loss=tuple(loss for _, loss, _ in self.guards),
            gradient_norm=tuple(norm for _, _, norm in self.guards),
            update_alignment=tuple(self.alignment),
        )

    # --- activations ----------------------------------------------------------------------------------------------------

    def _activations(self) -> Iterator[ActivationSeries]:
        count = len(self.units)
        shape = len(self.steps), count
        scalars = np.full((*shape, len(SCALARS)), np.nan)
        absmax = np.full(shape, np.nan)
        sizes, gradient_sizes = np.zeros((*shape, 3)), np.zeros(shape)
        for place, step in enumerate(self.steps):
            known = len(self.scalars[place])
            scalars[place, :known], absmax[place, :known] = self.scalars[place], self.absmax[place]
            for number, found in step.sizes.items():
                sizes[place, number] = found
            for number, size in step.gradient_sizes.items():
                gradient_sizes[place, number] = size
        with np.errstate(all="ignore"):
            table = _series(scalars, sizes, gradient_sizes, absmax)
        was_read, had_gradient = sizes[..., 0] > 0, gradient_sizes > 0
        in_detail = had_gradient & np.array([[step.is_detailed] for step in self.steps], bool).reshape(-1, 1)
        there = {"gradient_rms": had_gradient, "gradient_underflow_share": in_detail}
        starts = np.cumsum((0, *self.units))
        names: Counter[str] = Counter()
        for number, (call, layer) in enumerate(zip(self.calls[:count], self.layers[:count], strict=True)):
            if not layer and call.op in ONLY_LAYERS:
                continue
            series: dict[str, Any] = {
                word: tuple(
                    value if is_there else None
                    for value, is_there in zip(
                        column[:, number].tolist(),
                        there.get(word, was_read)[:, number].tolist(),
                        strict=True,
                    )
                )
                for word, column in zip(PER_STEP, table, strict=True)
            }
            if call.op not in SATURATION:
                series["saturated_share"] = ()
            yield ActivationSeries(
                tap=Tap(_name(call, layer, names), layer, call.module, call.op.value, call.ordinal),
                **series,
                **self._ranks(number),
                **self._masks(slice(starts[number], starts[number + 1]), was_read[:, number], call.op),
                unit_count=self.units[number],
                value_count=int(max((whole / samples for _, whole, samples in sizes[:, number] if samples), default=0)),
                samples_seen=int(sizes[:, number, 2].sum()),
                **self._histograms(number),
            )

    def _ranks(self, number: int) -> dict[str, Any]:
        ranks = [found.get(number) for found in self.ranks]
        rows = [found[1] for found in ranks if found is not None]
        return {
            "effective_rank": tuple(None if found is None or math.isnan(found[0]) else found[0] for found in ranks),
            "effective_rank_bound": float(rank_bound(min(rows), self.units[number])) if rows else None,
        }

    def _masks(self, place: slice, was_read: Any, op: Op) -> dict[str, Any]:
        """Silent units count for rectifiers alone: where zero means that no gradient passes."""
        found: dict[str, Any] = {}
        read = [active[place] for active, is_there in zip(self.active, was_read, strict=True) if is_there]
        if not read:
            return found
        found["constant_share"] = float(1 - self.varied[place].mean())
        if op in RECTIFIERS:
            quarter = max(len(read) // 4, 1)
            for word, part in (("", read), ("_first", read[:quarter]), ("_last", read[-quarter:])):
                found[f"silent_share{word}"] = float(1 - np.logical_or.reduce(part).mean())
        return found

    def _histograms(self, number: int) -> dict[str, Any]:
        found = {}
        for kind, word in (("values", "histogram"), ("gradients", "gradient_histogram")):
            kept = self.histograms.get((number, kind))
            if kept:
                found[f"{word}_first"], found[f"{word}_last"] = kept[0], kept[-1]
        return found

    # --- parameters -----------------------------------------------------------------------------------------------------

    def _parameter(self, place: int, state: ParameterState) -> ParameterSeries:
        has_gradient = [place in step.with_gradient for step in self.steps]

        def column(number: int, *, of_gradient: bool = True) -> Series:
            values = (float(table[number, place]) for table in self.tables)
            return tuple(
                value if there or not of_gradient else None for value, there in zip(values, has_gradient, strict=True)
            )

        weight, gradient, absmax, nonzero, kept, update = (
            column(number, of_gradient=0 < number < 5) for number in range(len(NUMBERS))
        )
        return ParameterSeries(
            name=self.names[place],
            size=self.sizes[place],
            trainable=state.trainable,
            in_optimizer=state.in_optimizer,
            has_gradient=place in self.has_gradient,
            is_changed=state.is_changed,
            weight_norm=weight,
            gradient_norm=gradient,
            update_norm=update,
            gradient_noise=tuple(self.noise.get(step.index, {}).get(self.names[place]) for step in self.steps)
            if self.noise
            else (),
            gradient_underflow_share=tuple(
                (some - large) / some if some and some > 0 and large is not None else None
                for some, large in zip(nonzero, kept, strict=True)
            ),
            gradient_absmax=tuple(
                value if step.is_detailed else None for step, value in zip(self.steps, absmax, strict=True)
            ),
            never_touched_rows=None if state.touched is None else 1 - state.touched,
        )


def _series(scalars: Any, sizes: Any, gradient_sizes: Any, absmax: Any) -> list[Any]:
    """(steps, taps) arrays of `PER_STEP`."""
    gradient, non_finite, overflow, total, squares, nonzero, saturated, some, kept = np.moveaxis(scalars, -1, 0)
    summed, whole = sizes[..., 0], sizes[..., 1]
    mean, power = total / summed, squares / summed
    return [
        mean, np.sqrt(np.maximum(power - mean**2, 0)), np.sqrt(power), absmax, 1 - nonzero / summed, saturated / summed, non_finite,
        overflow / whole, np.sqrt(gradient / gradient_sizes), (some - kept) / some,
    ]  # fmt: skip


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


def _alignment(table: Any, along: Any) -> Number:
    """Cosine between the change of all weights and the gradient that the optimizer was given: `along` is their product and the gradient's norm."""
    if along is None:
        return None
    whole = math.sqrt(np.nansum(table[NUMBERS.index("update")] ** 2)) * along[1]
    found = along[0] / whole if whole > 0 else math.nan
    return float(found) if math.isfinite(found) else None


def _name(call: Call, layer: str, names: Counter[str]) -> str:
    """The layer's name, or module and op; each once."""
    name = layer or ".".join(part for part in (call.module, call.op.value) if part)
    names[name] += 1
    return name if names[name] == 1 else f"{name}_{names[name] - 1}"
