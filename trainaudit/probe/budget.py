"""How the seconds of a probe are shared among the training run and the experiments. Stdlib only.

What cannot be afforded even at its smallest is left out before anything is run. Each stage then gets the least that it needs and its share of what is
*left* beyond the needs of those after it, so that what a quick stage does not use goes to the stages after it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trainaudit.frozen import frozen

TRAINING = "training"


@frozen
class Stage:
    """`share` weighs what a stage may take, `least` are the training steps in whose time it can say anything at all."""

    share: float
    least: int


STAGES: Mapping[str, Stage] = {
    TRAINING: Stage(40, 1),
    "target-shape": Stage(1, 1),
    "loss-at-init": Stage(5, 3),
    "overfit-one-batch": Stage(20, 25),
    "batch-dependence": Stage(5, 8),
    "time-dependence": Stage(4, 4),
    "train-eval-gap": Stage(4, 4),
    "same-seed": Stage(4, 4),
    "learning-rate-range": Stage(10, 124),
    "input-baseline": Stage(12, 80),
}
"""By importance: what teaches most for its time comes first, is run first and is given up last."""


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
    """`ends` is a time of `time.perf_counter`; `step_seconds` what a training step takes, 0 while it is not known."""

    ends: float
    step_seconds: float = 0.0

    def left(self) -> float:
        return max(self.ends - time.perf_counter(), 0.0)

    def least(self, name: str) -> float:
        return STAGES[name].least * self.step_seconds

    def affordable(self, names: Sequence[str]) -> list[str]:
        """Those of `names` that fit into what is left, the first ones first."""
        left, found = self.left(), []
        for name in names:
            if self.least(name) <= left:
                left -= self.least(name)
                found.append(name)
        return found

    def allow(self, name: str, later: Sequence[str]) -> Allowance:
        """What the stage may take, with the stages `later` still to come."""
        least = self.least(name)
        free = max(self.left() - least - sum(self.least(other) for other in later), 0.0)
        share = STAGES[name].share / (STAGES[name].share + sum(STAGES[other].share for other in later))
        return Allowance(time.perf_counter() + least + free * share)


def begin(seconds: float) -> Budget:
    return Budget(time.perf_counter() + seconds)
