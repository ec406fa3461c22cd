"""Where the marks of a chart stand. Templates draw them; positions are in the units of the SVG's viewBox. Stdlib only."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor, isfinite, log10

from trainaudit.frozen import frozen
from trainaudit.report import numbers
from trainaudit.result import Evidence, LayerRow

WIDTH = 440


@frozen
class EvidenceBar:
    """A value against its limit on a line of length `WIDTH`: the stretch where it would be well, the limit, the value."""

    value_at: float
    limit_at: float
    good_from: float
    good_to: float
    value: str
    expected: str
    is_log: bool


def evidence_bar(evidence: Evidence) -> EvidenceBar | None:
    """None where the evidence is not a number held against a number, or either is not finite."""
    value, limit = evidence.value, evidence.threshold
    if not (numbers.is_number(value) and numbers.is_number(limit)) or evidence.comparison not in ("<", "<=", ">", ">="):
        return None
    value, limit = float(value), float(limit)  # type: ignore[arg-type]
    if not (isfinite(value) and isfinite(limit)):
        return None
    is_log = min(value, limit) > 0 and max(value, limit) / min(value, limit) > 20
    if evidence.unit == "share" and min(value, limit) >= 0 and max(value, limit) <= 1 and not is_log:
        low, high = 0.0, 1.0
    elif is_log:
        low, high = min(value, limit) / 4, max(value, limit) * 4
    else:
        low, high = min(0.0, 1.25 * value, 1.25 * limit), max(0.0, 1.25 * value, 1.25 * limit)
        high = high if high > low else low + 1.0
    position = scale(low, high, is_log, 0, WIDTH)
    measured, expected = numbers.measured_and_expected(evidence)
    limit_at = position(limit)
    is_upper = evidence.comparison in (">", ">=")
    good_from, good_to = (0.0, limit_at) if is_upper else (limit_at, float(WIDTH))
    return EvidenceBar(position(value), limit_at, good_from, good_to, measured, expected, is_log)


def gain_bar(row: LayerRow) -> tuple[float, float] | None:
    """Start and length of a bar from the middle of a line of length 80 to gain / wanted gain, logarithmic from 1/10 to 10."""
    if (
        not (drawable(row.gain) and drawable(row.wanted_gain))
        or not row.wanted_gain
        or row.gain is None
        or row.gain < 0
    ):
        return None
    at = scale(0.1, 10.0, True, 0, 80)(row.gain / row.wanted_gain)
    return min(at, 40.0), round(abs(at - 40.0), 1)


def scale(low: float, high: float, is_log: bool, start: float, end: float) -> Callable[[float], float]:
    """A function from values to positions, held within the ends."""
    if is_log:
        low, high = log10(low), log10(high)
    span = (high - low) or 1.0

    def position(value: float) -> float:
        at = (log10(value) if value > 0 else low) if is_log else value
        return round(start + (end - start) * min(1.0, max(0.0, (at - low) / span)), 2)

    return position


def linear_axis(low: float, high: float) -> tuple[float, float, list[float]]:
    """Ends and about five ticks at round numbers."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # one value, or none apart as floats go
        high = low + max(1.0, abs(low) / 10)
    rough = (high - low) / 4
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough)
    first, last = floor(low / step), ceil(high / step)
    ticks = [float(f"{index * step:.6g}") for index in range(first, last + 1)]
    return ticks[0], ticks[-1], ticks


def log_axis(low: float, high: float) -> tuple[float, float, list[float]]:
    """Ends and at most six ticks at powers of ten."""
    first = min(max(floor(log10(low)), -300), 299)  # within what floats can say
    last = max(min(ceil(log10(high)), 300), first + 1)
    step = ceil((last - first) / 5)
    return 10.0**first, 10.0**last, [10.0**power for power in range(first, last + 1, step)]


def drawable(value: float | None) -> bool:
    return value is not None and isfinite(value)
