"""From the numbers that came off the device to the series of a `Trace`. numpy only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainaudit.ir.ops import RECTIFIERS, Op
from trainaudit.probe.details import Detail, Digest, digest
from trainaudit.probe.layout import CAP, NUMBERS, SATURATION, SCALARS, rank_bound
from trainaudit.probe.matching import Call
from trainaudit.trace.trace import ActivationSeries, Number, ParameterSeries, Series, Tap


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


MOST_DETAILS = 4
"""Steps read in detail whose samples wait for what comes of them until the run is over; the oldest of more is worked out at once."""


class Record:
    """All that has landed. `calls` are those that are read, in the order of the slots; `layers` their names in the graph."""

    def __init__(self, names: Sequence[str], sizes: Sequence[tuple[int, int | None]]) -> None:
        """`sizes` says of each parameter how many values it has, and how many of them its norms are estimated from, if not all."""
        self.names, self.sizes = names, sizes
        self.calls: list[Call] = []
        self.layers: list[str] = []
        self.steps: list[StepReadings] = []
        self.units: tuple[int, ...] = ()
        self.scalars: list[Any] = []
        self.absmax: list[Any] = []
        self.active: list[Any] = []
        self.varied = np.zeros(0, bool)
        self.details: dict[int, Detail] = {}
        self.digests: dict[int, Digest] = {}
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
        table = extras["", "parameters"].reshape(len(NUMBERS), -1)
        self.tables.append(table)
        self.alignment.append(_alignment(extras.get(("", "along"))))
        if step.is_detailed:
            self.details[len(self.steps) - 1] = _detail(step, extras)
            if len(self.details) > MOST_DETAILS:
                self._digest(min(self.details), with_histograms=not self.digests)

    def _digest(self, place: int, *, with_histograms: bool = True) -> None:
        """Histograms are kept of the first and the last alone."""
        self.digests[place] = digest(self.details.pop(place), with_histograms=with_histograms)

    def readings(self, states: Sequence[ParameterState]) -> Readings:
        for place in sorted(self.details):
            self._digest(place)
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
        underflow = np.full(shape, np.nan)
        for place, one in self.digests.items():
            underflow[place, : len(one.underflow)] = one.underflow
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
                for word, column in zip(PER_STEP, (*table, underflow), strict=True)
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
        ranks = {place: found.ranks[number] for place, found in self.digests.items() if number in found.ranks}
        if not ranks:
            return {"effective_rank": (None,) * len(self.steps)}
        series = [ranks[place][0] if place in ranks else None for place in range(len(self.steps))]
        return {
            "effective_rank": tuple(None if value is None or math.isnan(value) else value for value in series),
            "effective_rank_bound": float(rank_bound(min(rows for _, rows in ranks.values()), self.units[number])),
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
        """The first and the last."""
        found = {}
        for kind, word in (("values", "histogram"), ("gradients", "gradient_histogram")):
            kept = [self.digests[place].histograms.get((number, kind)) for place in sorted(self.digests)]
            there = [one for one in kept if one is not None]
            if there:
                found[f"{word}_first"], found[f"{word}_last"] = there[0], there[-1]
        return found

    # --- parameters -----------------------------------------------------------------------------------------------------

    def _parameter(self, place: int, state: ParameterState) -> ParameterSeries:
        has_gradient = [place in step.with_gradient for step in self.steps]

        def column(number: int, *, of_gradient: bool = True) -> Series:
            values = (float(table[number, place]) for table in self.tables)
            return tuple(
                value if there or not of_gradient else None for value, there in zip(values, has_gradient, strict=True)
            )

        weight, gradient, absmax, update = (
            column(number, of_gradient=0 < number < 3) for number in range(len(NUMBERS))
        )
        size, sampled = self.sizes[place]
        return ParameterSeries(
            name=self.names[place],
            size=size,
            sampled_count=sampled,
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
                _number(self.digests[step].parameter_underflow[place]) if there and step in self.digests else None
                for step, there in enumerate(has_gradient)
            ),
            gradient_absmax=tuple(
                value if step.is_detailed else None for step, value in zip(self.steps, absmax, strict=True)
            ),
            never_touched_rows=None if state.touched is None else 1 - state.touched,
        )


def _series(scalars: Any, sizes: Any, gradient_sizes: Any, absmax: Any) -> list[Any]:
    """(steps, taps) arrays of `PER_STEP` but the last."""
    gradient, non_finite, overflow, total, norm, nonzero, saturated = np.moveaxis(scalars, -1, 0)
    summed, whole = sizes[..., 0], sizes[..., 1]
    mean, rms = total / summed, norm / np.sqrt(summed)
    return [
        mean, np.sqrt(np.maximum(rms**2 - mean**2, 0)), rms, absmax, 1 - nonzero / summed, saturated / summed, non_finite,
        overflow / whole, np.sqrt(gradient / gradient_sizes),
    ]  # fmt: skip


def _detail(step: StepReadings, extras: Mapping[Any, Any]) -> Detail:
    none = np.zeros((0, CAP))
    return Detail(
        sizes={number: size for number, (size, _, _) in step.sizes.items()},
        with_gradient=frozenset(step.gradient_sizes),
        values=extras["", "values"].reshape(-1, CAP),
        gradients=extras["", "gradients"].reshape(-1, CAP),
        parameter_gradients=extras.get(("", "parameter gradients"), none).reshape(-1, CAP),
        grams={
            number: found.reshape(math.isqrt(len(found)), -1)
            for (number, kind), found in extras.items()
            if kind == "gram"
        },
    )


def _alignment(along: Any) -> Number:
    """Cosine between the change of all weights and the gradient that the optimizer was given: `along` is their product and the norms of the two."""
    if along is None:
        return None
    product, change, gradient = along.tolist()
    return _number(product / (change * gradient) if change * gradient > 0 else math.nan)


def _number(value: Any) -> Number:
    return float(value) if math.isfinite(value) else None


def _name(call: Call, layer: str, names: Counter[str]) -> str:
    """The layer's name, or module and op; each once."""
    name = layer or ".".join(part for part in (call.module, call.op.value) if part)
    names[name] += 1
    return name if names[name] == 1 else f"{name}_{names[name] - 1}"
