"""`Slots`: where the readings of one sampled step lie on the device until they are fetched at once. torch is imported at module level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trainaudit.probe.layout import SCALARS


@dataclass(slots=True)
class Tapped:
    """The slots of one tap: `numbers` are its scalars, each a view of no dimensions; `highs` and `lows` have one entry for each unit."""

    block: Any
    numbers: tuple[Any, ...]
    highs: Any
    lows: Any
    units: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """The readings of a sampled step on their way to the host: `host` may be read once `arrived()`."""

    host: Any
    event: Any
    units: tuple[int, ...]
    extras: tuple[tuple[Any, int], ...]

    def arrived(self) -> bool:
        return self.event is None or bool(self.event.query())

    def parts(self) -> tuple[Any, Any, Any, dict[Any, Any]]:
        """Scalars (taps × `SCALARS`), highs and lows of all units side by side, and the extras by their keys. Waits where they have not arrived."""
        if self.event is not None:
            self.event.synchronize()
        values = self.host.numpy().astype(np.float64, copy=False)
        count, total = len(self.units) * len(SCALARS), sum(self.units)
        extras, place = {}, count + 2 * total
        for key, size in self.extras:
            extras[key] = values[place : place + size]
            place += size
        scalars = values[:count].reshape(len(self.units), len(SCALARS))
        return scalars, values[count : count + total], values[count + total : count + 2 * total], extras


class Slots:
    """One buffer for all taps that are known; taps that are new in a step lie beside it until the step's end."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self.dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64
        self.taps: list[Tapped] = []
        self.buffer = torch.zeros(0, dtype=self.dtype, device=device)
        self.extras: list[tuple[Any, Any]] = []
        self.built = 0

    def add(self, units: int) -> int:
        """Slots for a tap with so many units; its number."""
        block = torch.zeros(len(SCALARS) + 2 * units, dtype=self.dtype, device=self.device)
        ends = len(SCALARS), len(SCALARS) + units
        self.taps.append(Tapped(block, block[: ends[0]].unbind(0), block[ends[0] : ends[1]], block[ends[1] :], units))
        return len(self.taps) - 1

    def begin(self) -> None:
        """Empty slots, all in one buffer."""
        if self.built < len(self.taps):
            self._rebuild()
        self.buffer.zero_()
        self.extras.clear()

    def _rebuild(self) -> None:
        count, total = len(self.taps) * len(SCALARS), sum(tap.units for tap in self.taps)
        self.buffer = torch.zeros(count + 2 * total, dtype=self.dtype, device=self.device)
        place = count
        for number, tap in enumerate(self.taps):
            scalars = self.buffer[number * len(SCALARS) : (number + 1) * len(SCALARS)]
            highs, lows = (self.buffer[start : start + tap.units] for start in (place, place + total))
            self.taps[number] = Tapped(None, scalars.unbind(0), highs, lows, tap.units)
            place += tap.units
        self.built = len(self.taps)

    def fetch(self) -> Fetched:
        """Send what lies in the slots to the host, in one transfer."""
        whole = self.buffer
        loose = self.taps[self.built :]
        if loose or self.extras:
            known = self.built * len(SCALARS)
            total = (len(whole) - known) // 2
            parts = [whole[:known], *(tap.block[: len(SCALARS)] for tap in loose)]
            parts += [whole[known : known + total], *(tap.highs for tap in loose)]
            parts += [whole[known + total :], *(tap.lows for tap in loose), *(values for _, values in self.extras)]
            whole = torch.cat(parts)
        units = tuple(tap.units for tap in self.taps)
        extras = tuple((key, values.numel()) for key, values in self.extras)
        host, event = to_host(whole)
        return Fetched(host, event, units, extras)


def to_host(tensor: Any) -> tuple[Any, Any]:
    """A copy on the host, and the event after which it may be read (None where it may at once)."""
    if tensor.device.type != "cuda":
        return tensor.detach().to("cpu", copy=True), None
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor.detach(), non_blocking=True)
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return host, event
