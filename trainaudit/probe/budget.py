"""`Budget`: how the seconds of a probe are shared among the training run and the experiments. Stdlib only.

Each stage gets its share of what is *left*, so that what a quick stage does not use goes to the stages after it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WEIGHTS: Mapping[str, float] = {
    "training": 40,
    "target-shape": 1,
    "loss-at-init": 5,
    "batch-dependence": 5,
    "time-dependence": 4,
    "overfit-one-batch": 20,
    "learning-rate-range": 10,
    "train-eval-gap": 4,
    "input-baseline": 12,
    "same-seed": 4,
}
"""Stage → share, in the order of running: by what is learned for the time."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """The seconds that one stage may take; `ends` is a time of `time.perf_counter`."""

    ends: float

    def left(self) -> float:
        return self.ends - time.perf_counter()

    def share(self, part: float) -> Allowance:
        """The first `part` of what is left."""
        return Allowance(time.perf_counter() + part * self.left())

    def is_over(self) -> bool:
        return self.left() <= 0


@dataclass(frozen=True, slots=True)
class Budget:
    """`ends` is a time of `time.perf_counter`."""

    ends: float

    def allow(self, stage: str, later: Sequence[str]) -> Allowance:
        """What `stage` may take, with the stages `later` still to come."""
        now = time.perf_counter()
        share = WEIGHTS[stage] / (WEIGHTS[stage] + sum(WEIGHTS[name] for name in later))
        return Allowance(now + max(self.ends - now, 0.0) * share)


def begin(seconds: float) -> Budget:
    return Budget(time.perf_counter() + seconds)
