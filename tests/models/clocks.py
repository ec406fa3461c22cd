"""Time that tests decide: a budget that no machine uses up, so that steps alone end every part of a probe, and a clock that stands still but for the
steps of a model."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from trainaudit.probe.trainee import Batch, Computed, Trainee

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


def slowed(trainee: Trainee, clock: Clock, seconds: float) -> Trainee:
    """Every forward pass takes that long for each example by the clock, whatever the machine does."""

    def compute(model: Any, batch: Batch) -> Computed:
        clock.now += seconds * batch.size
        return trainee.compute(model, batch)

    return replace(trainee, compute=compute)
