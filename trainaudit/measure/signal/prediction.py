"""What signal propagation predicts: how large every value is, and how large the gradient that reaches it, without running the model. numpy only.

Sources: Poole et al. 2016 (arXiv:1606.05340), Schoenholz et al. 2017 (arXiv:1611.01232), He et al. 2015 (arXiv:1502.01852),
Yang & Schoenholz 2017 (arXiv:1712.08969), Yang et al. 2019 (arXiv:1902.08129), Xiong et al. 2020 (arXiv:2002.04745).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field

import numpy as np
import numpy.typing as npt

from trainaudit.frozen import frozen
from trainaudit.measure.signal.curves import Curve

Floats = npt.NDArray[np.float64]

Profile = tuple[Floats, ...]

NONE: Floats = np.zeros(1)
"""No variance. Rules test `signal.shared is NONE` to leave out work; an array of zeros means the same."""
NONE.setflags(write=False)


def mean_of(array: Floats) -> float:
    """The mean of all elements; what np.mean gives, in a third of the time where they are few."""
    size = array.size
    return float(array.item()) if size == 1 else float(np.add.reduce(array, axis=None)) / max(size, 1)


class NotCovered(Exception):  # noqa: N818 (no error: an answer)
    """The prediction stops at this layer; the message is the reason, a short clause without a full stop."""


@frozen(eq=False)
class Signal:
    """The distribution of a value x[sample, position, unit] over samples and positions, unit by unit.

    `mean` is the mean of each unit; its variance has two parts: `shared` is common to all positions of a sample, `own` differs from position
    to position. A value without positions (batch, units) has `shared` = 0 and all variance in `own`. Arrays have one entry per unit (length
    C), or one entry (length 1) where all units are alike. Keeping the mean over the batch apart from the variance is what lets the second
    moment and the correlation between samples follow from one description.

    `axes` are the axes that count units, `batch` the one that counts samples, all counted from the end (−1 is the last); the other axes are
    positions. Units of several axes (heads and their width) are numbered row by row.
    """

    mean: Floats
    own: Floats
    shared: Floats = field(default_factory=lambda: NONE)
    positions: int = 1
    """Positions of one sample (pixels, tokens); 1 where there are none."""
    axes: tuple[int, ...] = (-1,)
    batch: int | None = None
    """None where it is not known, or where the value does not depend on the sample."""
    before: Signal | None = None
    """Where the value is a function of a Gaussian one, that one; else the value counts as Gaussian itself."""
    curve: Curve | None = None
    """That function."""
    profile: Profile | None = None
    """Of an image: how its second moment goes along each axis, 1 on average; None where it is even. Zero padding makes borders fainter."""

    @property
    def variance(self) -> Floats:
        """Variance of each unit over samples and positions."""
        return self.own if self.shared is NONE else self.own + self.shared

    @property
    def second(self) -> Floats:
        """Second moment of each unit."""
        return self.mean * self.mean + self.own + self.shared

    @property
    def rms(self) -> float:
        """√E[x²] over everything."""
        return float(np.sqrt(np.mean(self.second)))

    @property
    def std(self) -> float:
        """Standard deviation over samples, positions and units together."""
        return float(np.sqrt(np.mean(self.variance) + np.var(self.mean)))


@frozen(eq=False)
class Gradient:
    """Second moment of the loss's gradient by each unit of a value, laid out as the value's `Signal`: `shared` is the part that is the same at
    all positions of a sample, `own` the rest. Its mean over samples is zero, because the loss's derivative by the output is."""

    own: Floats
    shared: Floats = field(default_factory=lambda: NONE)
    chosen_of: int = 1
    """Where it reaches only the largest of so many neighbors (max-pooling), their number."""
    chosen_share: float = 1.0
    """The share of it of which that is true."""
    silent: float = 0.0
    """The share of it whose sum over samples and positions is zero: all of it in front of a batch normalization, which removes what its input
    has in common. A bias there learns nothing, and the mean of an input adds nothing to a weight's gradient."""
    silent_units: float = 0.0
    """The share whose sum over the units is zero at each position (in front of a layer normalization)."""
    profile: Profile | None = None
    """As `Signal.profile`."""
    silent_common: float | None = None
    """As `silent`, of what the positions of a sample share; None where it is the same. What differs from place to place only, as borders and slopes
    of activation functions do, leaves it silent: it sums to zero over the samples."""

    @property
    def common_silence(self) -> float:
        """The share of `shared` whose sum is zero."""
        return self.silent if self.silent_common is None else self.silent_common

    @property
    def total(self) -> Floats:
        """Second moment of each unit."""
        return self.own if self.shared is NONE else self.own + self.shared

    @property
    def rms(self) -> float:
        """√E[g²] over everything."""
        return math.sqrt(mean_of(self.own) + (0.0 if self.shared is NONE else mean_of(self.shared)))


@frozen
class Prediction:
    """The predicted signal of a graph for standardised inputs: float inputs are independent standard normal numbers, integer inputs are
    uniform over the vocabulary that they index; one that is cast to a number is a mask without gaps or, one for each sample, a step below 1000.
    Sizes that the file does not tell count as 64. BatchNorm uses the batch's statistics and dropout drops, as in training. Gradients are
    those of a loss whose derivative by every element of the model's primary output is an independent standard normal number per sample: only
    their ratios mean something.

    A value, layer or parameter that the prediction does not reach is absent, and `uncovered` names the layers where it stopped, with
    the reason ("no rule for scatter", "its shape is not known"). It never guesses beyond them.
    """

    signals: Mapping[str, Signal]
    """Value name → its distribution."""
    gradients: Mapping[str, float]
    """Value name → rms of the loss's gradient by one element of it."""
    parameter_gradients: Mapping[str, float]
    """Parameter name → rms of the loss's gradient by one element of it, for one sample."""
    uncovered: Mapping[str, str]
    """Layer name → why its output is not predicted, for the first uncovered layers on each path forward; for the backward direction
    likewise with the reason beginning with "backward: "."""
