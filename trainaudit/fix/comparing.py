"""The verdict on paired runs: a few numbers before and after, one pair for each seed. Stdlib only.

Rule: Student's paired t, one-sided at 5 % (Student 1908, "The probable error of a mean"), on the logarithm of the quotient; or, where one pair gains so
much more than the others that their spread hides what all of them say, the sign test at the same level (all of five pairs or more: 1/32). Pairs share
data, order and seeds, which is what makes a few of them enough (Bouthillier et al. 2021, "Accounting for variance in machine learning benchmarks",
arXiv:2103.03098). What is sure but small is no effect: `RELEVANT`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from trainaudit.result import NO_EFFECT, PROVED, WORSE

RELEVANT = math.log(1.05)
"""A twentieth: two runs of one model from two seeds differ by that much easily, and nobody rewrites a network for less."""
KNOWN = 0.005
"""Of the loss at the start: below it a loss counts as known by heart, as in the experiment that overfits one batch, and nothing more is gained."""
_MOST = 2.0
"""Times the loss at the start: above it, and where it is not finite, a run has diverged, and how far says nothing. A fix that does no more than not to
diverge is not to rank before one that learns."""
_T = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833)
"""95th percentiles of Student's t with 1, 2 … 9 degrees of freedom."""
_NORMAL = 1.645
_SIGNS = 5
"""So many pairs that all say the same are below 5 % by the sign test."""


def gain(before: float, after: float, scale: float, known: float = KNOWN) -> float:
    """ln(before / after), above 0 where `after` is smaller; neither below `known` nor above twice `scale`, which is the loss at the start. Losses
    below 0 (densities have them) are compared by their difference over the scale instead."""
    ends = [min(value, _MOST * scale) if math.isfinite(value) else _MOST * scale for value in (before, after)]
    if min(ends) < 0:
        return (ends[0] - ends[1]) / scale
    return math.log((ends[0] + known * scale) / (ends[1] + known * scale))


def verdict(gains: Sequence[float]) -> str:
    """Of two pairs or more."""
    mean = statistics.fmean(gains)
    if abs(mean) < RELEVANT or not (abs(mean) > _margin(gains) or (len(gains) >= _SIGNS and _agree(gains))):
        return NO_EFFECT
    return PROVED if mean > 0 else WORSE


def is_open(gains: Sequence[float]) -> bool:
    """All pairs say the same, and they are too few for a verdict: more of them may tell."""
    return _agree(gains) and abs(statistics.fmean(gains)) >= RELEVANT and verdict(gains) == NO_EFFECT


def _agree(gains: Sequence[float]) -> bool:
    return all(each > 0 for each in gains) or all(each < 0 for each in gains)


def _margin(gains: Sequence[float]) -> float:
    freedom = len(gains) - 1
    factor = _T[freedom - 1] if freedom <= len(_T) else _NORMAL
    return factor * statistics.stdev(gains) / math.sqrt(len(gains))
