"""What a prediction says of one value: how much it varies, how large its gradient is. None where it says nothing. May import `ir` and siblings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Graph
from trainaudit.measure.facts import Unmeasured

if TYPE_CHECKING:
    from trainaudit.measure.signal.prediction import Floats, Prediction


GONE = 1e-100
"""Of a signal or gradient that has dwindled further than this the rest is lost: a variance ends at 1e-324 in a double, a deviation with it at 1e-162."""


@frozen
class Readings:
    """A prediction as facts read it. `missing` is the reason for what it does not reach."""

    graph: Graph
    prediction: Prediction
    missing: Unmeasured
    known: dict[str, tuple[float, float] | None] = field(default_factory=dict)
    """Value → (mean square of the units' means, mean of their variances), as far as asked for: several facts read one value."""

    def std(self, value: str) -> float | None:
        """Standard deviation over samples and positions, the mean over units: what of the value depends on the input."""
        found = self._moments(value)
        return None if found is None else _finite(math.sqrt(found[1]))

    def rms(self, value: str) -> float | None:
        """√E[x²] over samples, positions and units."""
        found = self._moments(value)
        return None if found is None else _finite(math.sqrt(found[0] + found[1]))

    def _moments(self, value: str) -> tuple[float, float] | None:
        try:
            return self.known[value]
        except KeyError:
            pass
        signal = self.prediction.signals.get(value)
        found = None
        if signal is not None:
            mean = signal.mean
            squared = float(mean[0]) ** 2 if mean.size == 1 else float(mean @ mean) / mean.size
            found = squared, max(0.0, _mean(signal.own) + _mean(signal.shared))
        self.known[value] = found
        return found

    def gradient(self, value: str) -> float | None:
        """L2 norm of the loss's gradient by the whole value of one sample, so that values of different size compare."""
        found = self.prediction.gradients.get(value)
        return None if found is None else _finite(found * math.sqrt(_elements(self.graph, value)))


def readings(graph: Graph, prediction: Prediction) -> Readings:
    """`missing` quotes the first place where the prediction stopped."""
    stopped = next(iter(prediction.uncovered.items()), None)
    reason = "the signal is not predicted here"
    if stopped is not None:
        reason = f"the predicted signal stops at {stopped[0]}: {stopped[1].removeprefix('backward: ')}"
    return Readings(graph, prediction, Unmeasured(reason))


def first_largest(factors: Sequence[float]) -> int:
    """Where the damage starts: the earliest of the factors (as logarithms, damage positive) that is at least half as large as the largest."""
    half = 0.5 * max(factors)
    return next(k for k, factor in enumerate(factors) if factor >= half)


def _elements(graph: Graph, value: str) -> int:
    """Elements of one sample; sizes that are not known count as 1."""
    found = graph.values.get(value)
    if found is None or found.shape is None:
        return 1
    return math.prod(size for size in found.shape[1:] if isinstance(size, int) and size > 0)


def _mean(values: Floats) -> float:
    return float(values[0]) if values.size == 1 else float(np.add.reduce(values)) / values.size


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
