"""Robust numbers of a series: None where it holds none. Stdlib and `trace`.

A series has one entry for each sampled step or for each step; an entry may be None (not had), NaN or infinite (what the run gave).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from trainaudit.trace.trace import Number


def finite(values: Iterable[Number]) -> list[float]:
    """What can be reckoned with, in order."""
    return [value for value in values if value is not None and math.isfinite(value)]


def first(values: Iterable[Number]) -> float | None:
    """The first entry, if it is a finite number."""
    value = next(iter(values), None)
    return value if value is not None and math.isfinite(value) else None


def earliest(values: Iterable[Number]) -> float | None:
    """The first finite number of those that were had."""
    return next(iter(finite(values)), None)


def median(values: Iterable[Number]) -> float | None:
    found = finite(values)
    return statistics.median(found) if found else None


def largest(values: Iterable[Number]) -> float | None:
    return max(finite(values), default=None)


def second_half(values: Sequence[Number]) -> Sequence[Number]:
    """After warm-up."""
    return values[len(values) // 2 :]


def end(values: Sequence[Number], share: float = 0.1, least: int = 3) -> float | None:
    """Median of the last entries: a tenth of them, three at least."""
    return median(values[-max(int(len(values) * share), least) :])


def start(values: Sequence[Number], share: float = 0.1, least: int = 3) -> float | None:
    """Median of the first entries: a tenth of them, three at least."""
    return median(values[: max(int(len(values) * share), least)])


def quantile(values: Iterable[Number], share: float) -> float | None:
    """The smallest number that `share` of them do not exceed."""
    found = sorted(finite(values))
    return found[min(math.ceil(share * len(found)), len(found)) - 1] if found else None


def divided(above: Number, below: Number) -> float | None:
    """The quotient, None where one of the two is not had or there is none that is finite."""
    if above is None or below is None or below == 0:
        return None
    try:
        value = above / below
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def ratios(above: Sequence[Number], below: Sequence[Number]) -> list[float]:
    """Quotients entry by entry, where both are there."""
    found = (divided(one, other) for one, other in zip(above, below, strict=False))
    return [value for value in found if value is not None]
