"""`Slots`: where the readings of one sampled step lie on the device until they are fetched at once. torch is imported at module level.

A tap costs a copy of a bounded sample and its extrema while the step runs; all sums and counts are computed at its end, for all taps at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from trainaudit.ir.ops import Op
from trainaudit.probe.layout import AT_ONCE, CAP, RANK_COLUMNS, RANK_ROWS, SATURATION, SCALARS
from trainaudit.probe.readings import count_nonzero, waits, wide

AT_ONCE_COUNT, TOGETHER_COUNT = len(AT_ONCE), len(SCALARS) - len(AT_ONCE)


@dataclass(slots=True)
class Slot:
    """The slots of one tap. `numbers` holds what is written while the step runs (`layout.AT_ONCE`), `highs` and `lows` an entry for each unit (or the
    extrema of all in the first, and 0 in the others), `sample` and `gradient` values that sums and counts are over, 0 behind the last."""

    op: Op
    units: int
    numbers: Any
    highs: Any
    lows: Any
    first: Any
    """(low, high) of the first unit."""
    seen: Any
    """highs and lows where looking costs no waiting: on a CPU; None elsewhere."""
    sample: Any
    gradient: Any
    has_varied: bool = False
    """Every unit has had more than one value by now."""
    views: dict[str, Any] = field(default_factory=dict)
    """How the tap's tensors are sampled, for as long as their shapes stay the same: see `readings.copy_sample`."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The readings of a sampled step on their way to the host: `host` may be read once `arrived()`."""

    host: Any
    event: Any
    units: tuple[int, ...]
    extras: tuple[tuple[Any, int], ...]

    def arrived(self) -> bool:
        return self.event is None or bool(self.event.query())

    def parts(self) -> tuple[Any, Any, Any, Mapping[Any, Any]]:
        """Scalars (taps × `SCALARS`), highs and lows of all units side by side, and the extras by their keys. Waits where they have not arrived."""
        if self.event is not None:
            self.event.synchronize()
        values = self.host.numpy().astype(np.float64, copy=False)
        taps = len(self.units)
        ends = np.cumsum(
            (
                taps * AT_ONCE_COUNT,
                taps * TOGETHER_COUNT,
                sum(self.units),
                sum(self.units),
                *(size for _, size in self.extras),
            )
        )
        direct, together, highs, lows, *found = np.split(values, ends[:-1])
        scalars = np.concatenate(
            [direct.reshape(taps, AT_ONCE_COUNT), together.reshape(TOGETHER_COUNT, taps).T], axis=1
        )
        return scalars, highs, lows, {key: part for (key, _), part in zip(self.extras, found, strict=True)}


class Slots:
    """Buffers for all taps that are known, made once; taps that are new in a step lie beside them until the next begins."""

    def __init__(self, device: Any) -> None:
        self.device, self.dtype = device, wide(device)
        self.taps: list[Slot] = []
        self.built = 0
        self.extras: list[tuple[Any, Any]] = []
        self.rows = self._zeros(RANK_ROWS * RANK_COLUMNS)
        """Scratch for one tap at a time: to allocate anew costs more than to fill."""

    def add(self, op: Op, units: int) -> int:
        """Slots for a tap with so many units; its number."""
        numbers, samples = self._zeros(AT_ONCE_COUNT), self._zeros(2, CAP)
        extrema = self._zeros(2, units, kind=torch.float32)
        self.taps.append(Slot(op, units, _written_to(numbers), *_extrema(extrema), *samples))
        return len(self.taps) - 1

    def _zeros(self, *sizes: int, kind: Any = None) -> Any:
        return torch.zeros(sizes, dtype=kind or self.dtype, device=self.device)

    def begin(self) -> None:
        """Empty slots, all in one buffer of each kind."""
        count, total = len(self.taps), sum(tap.units for tap in self.taps)
        if self.built < count:
            self.numbers, self.extrema = self._zeros(count, AT_ONCE_COUNT), self._zeros(2, total, kind=torch.float32)
            self.samples, self.gradients, self.scratch = self._zeros(3, count, CAP)
            place = 0
            for number, tap in enumerate(self.taps):
                tap.numbers = _written_to(self.numbers[number])
                tap.sample, tap.gradient = self.samples[number], self.gradients[number]
                tap.highs, tap.lows, tap.first, tap.seen = _extrema(self.extrema[:, place : place + tap.units])
                tap.views.clear()
                place += tap.units
            self.built = count
        elif count:
            self.numbers.zero_()
            self.extrema.zero_()
        self.extras.clear()

    def _joined(self) -> tuple[Any, Any, Any, Any, Any]:
        if self.built == len(self.taps) and self.taps:
            return self.numbers, self.extrema, self.samples, self.gradients, self.scratch
        taps = self.taps
        if not taps:
            return self._zeros(0), self._zeros(0), *self._zeros(3, 0, CAP)
        samples, gradients = torch.stack([tap.sample for tap in taps]), torch.stack([tap.gradient for tap in taps])
        extrema = torch.stack([torch.cat([tap.highs for tap in taps]), torch.cat([tap.lows for tap in taps])])
        return (
            torch.stack([torch.as_tensor(tap.numbers) for tap in taps]),
            extrema,
            samples,
            gradients,
            torch.empty_like(samples),
        )

    def fetch(self, *, is_detailed: bool) -> Fetched:
        """Compute what is computed for all taps at once, and send all to the host in one transfer."""
        numbers, extrema, samples, gradients, scratch = self._joined()
        together = self._zeros(TOGETHER_COUNT, len(self.taps))
        if self.taps:
            total, lengths, nonzero, saturated = together
            torch.sum(samples, 1, out=total)
            torch.linalg.vector_norm(samples, 2, 1, out=lengths)
            count_nonzero(samples, scratch, nonzero)
            self._count_saturated(samples, saturated)
        if is_detailed:
            self.extras += [(("", "values"), samples.reshape(-1)), (("", "gradients"), gradients.reshape(-1))]
        parts = [
            numbers.reshape(-1),
            together.reshape(-1),
            extrema.to(self.dtype).reshape(-1),
            *(values for _, values in self.extras),
        ]
        host, event = to_host(torch.cat(parts))
        extras = tuple((key, values.numel()) for key, values in self.extras)
        return Fetched(host, event, tuple(tap.units for tap in self.taps), extras)

    def _count_saturated(self, samples: Any, saturated: Any) -> None:
        """By tap: few networks have many of these ops, and 0, which stands behind a sample's end, is saturated for some of them."""
        for op, (middle, distance) in SATURATION.items():
            for number, tap in enumerate(self.taps):
                if tap.op is op and "sample" in tap.views:
                    sample = samples[number, : tap.views["sample"][4]]
                    count_nonzero(torch.hardshrink(sample - middle, distance), None, saturated[number])


def _extrema(pair: Any) -> tuple[Any, Any, Any, Any]:
    """A slot's highs, lows, `first` and `seen` in (2, units) values."""
    highs, lows = pair
    return highs, lows, (lows[0], highs[0]), None if waits(pair) else pair.numpy()


def _written_to(numbers: Any) -> Any:
    """On a CPU the same memory as a numpy array, which takes a number in a tenth of the time."""
    return numbers if waits(numbers) else numbers.numpy()


def to_host(tensor: Any) -> tuple[Any, Any]:
    """A tensor that nothing else will write to on the host, and the event after which it may be read (None where it may at once)."""
    if tensor.device.type != "cuda":
        return tensor.detach().cpu(), None
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor.detach(), non_blocking=True)
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return host, event
