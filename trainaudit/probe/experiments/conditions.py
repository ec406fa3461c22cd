"""`Conditions`: what every experiment is given. torch is not imported here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainaudit.counting import count as counted
from trainaudit.probe.budget import Allowance
from trainaudit.probe.trainee import Trainee
from trainaudit.trace.experiments import NOT_RUN, Experiment


@dataclass(frozen=True, slots=True)
class Conditions:
    """`step_seconds` is what one training step on one of the trainee's batches took; `trained` the copy that the training run left (None
    where there was none); `earlier` the experiments before this one."""

    trainee: Trainee
    seed: int
    repeats: int
    allowance: Allowance
    step_seconds: float = 0.0
    is_causal: bool = False
    trained: Any = None
    earlier: Mapping[str, Experiment] = field(default_factory=dict)

    def seeds(self) -> tuple[int, ...]:
        return tuple(self.seed + 1 + repeat for repeat in range(max(self.repeats, 1)))

    def steps_that_fit(self, *, examples: int | None = None, share: float = 1.0) -> int:
        """Training steps that fit into `share` of the time left, on batches of `examples` (a batch of the trainee's where it is None)."""
        seconds = self.step_seconds
        if examples is not None and self.trainee.train[0].size:
            seconds *= max(min(examples / self.trainee.train[0].size, 1.0), 0.1)  # what does not shrink with the batch
        return int(self.passes_that_fit(seconds, share))

    def passes_that_fit(self, seconds: float | None = None, share: float = 1.0) -> float:
        """How often something that takes so many seconds (a training step) fits into `share` of the time left."""
        seconds = self.step_seconds if seconds is None else seconds
        return self.allowance.left() * share / seconds if seconds > 0 else 1e6


def too_slow(needed: int, fitting: int, seconds: float) -> Experiment:
    """Not run, since that many steps are needed for it to say anything and so many fit."""
    reason = f"it needs {counted(needed, 'step')}, and its {max(seconds, 0.0):.1f} s of the time budget have room for {max(fitting, 0)}"
    return Experiment(NOT_RUN, reason)
