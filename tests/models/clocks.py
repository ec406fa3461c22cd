"""Time that tests decide: a budget that no machine uses up, so that steps alone end every part of a probe, and a clock that stands still but for the
steps of a model."""

from __future__ import annotations

import time
from typing import Any

import pytest

AMPLE = 10_000.0
"""Seconds: a time budget that cuts nothing."""


class Clock:
    """Stands for `time.perf_counter`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def stopped_clock(patch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    patch.setattr(time, "perf_counter", clock)
    return clock


def slowed(model: Any, clock: Clock, seconds: float) -> Any:
    """The module, each call of which takes that long for each example by the clock, whatever the machine does."""

    def wait(_module: Any, arguments: Any) -> None:
        clock.now += seconds * len(arguments[0])

    model.register_forward_pre_hook(wait)
    return model
