"""Do these values follow that distribution? Moments, sharpness of the range, kurtosis and a Kolmogorov–Smirnov distance, against closed forms.
Imports numpy only.

Every test is a number of standard deviations or a ratio, and the few limits here are not verdicts about a model: they fix the error rate of the
identification (a true hypothesis is refused about once in 10⁴ to 10⁵ draws), which `benchmarks/initializers.py` measures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from trainaudit.measure.static.schemes import NORMAL, TRUNCATED, TRUNCATED_STD, TRUNCATION, UNIFORM, Scheme
from trainaudit.measure.static.tensor_statistics import TensorStatistics

Floats = npt.NDArray[np.floating]

SIGMAS = 4.7
"""Two-sided tail of a normal beyond it: 2.6e-6."""
_TAIL = 16.0
"""e^-16 = 1e-7: chance that a range as short as the one refused arises by luck."""
SHARP_END = 2.0 * _TAIL
"""Over n: how far, as a share of half the range, the end of n uniform draws may lie from its bound."""
_KS_LIMIT = 2.35
"""√n·D beyond it has probability 2·exp(−2·2.35²) = 3e-5 (Kolmogorov)."""
_KS_VALUES = 4096
_UNLIKELY = 14.0

ROUNDING = {"float64": 1e-5, "float32": 1e-5, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Relative rounding of stored values. 1e-5 leaves room for a fresh BatchNorm that was folded in: a factor 1/√(1 + 1e-5)."""

KURTOSIS = {UNIFORM: 1.8, NORMAL: 3.0, TRUNCATED: 2.3655}
"""Fourth moment over squared variance; cut at ±2σ by integration (checked by a test)."""
_KURTOSIS_SPREAD = {UNIFORM: 1.14, NORMAL: 24**0.5, TRUNCATED: 1.96}
"""√n times the standard deviation of a sample's kurtosis, rounded up."""
_STD_OF_SCALE = {UNIFORM: 3**-0.5, NORMAL: 1.0, TRUNCATED: TRUNCATED_STD}


def fits_scale(statistics: TensorStatistics, family: str, scale: float) -> bool:
    """The spread, and for bounded families the sharp ends of the range, are those of the distribution with that scale."""
    if abs(statistics.std / (_STD_OF_SCALE[family] * scale) - 1.0) > _spread_error(statistics, family):
        return False
    return family == NORMAL or _ends_sharply(statistics, family, scale)


def _spread_error(statistics: TensorStatistics, family: str) -> float:
    """How far, relatively, the standard deviation of as many draws may be from the distribution's."""
    n = statistics.size - statistics.non_finite_count
    return SIGMAS * math.sqrt((KURTOSIS[family] - 1.0) / (4.0 * n)) + ROUNDING[statistics.dtype]


def likely_names(statistics: TensorStatistics, schemes: Iterable[Scheme]) -> tuple[str, ...]:
    """Names of the schemes whose scale fits and under which the values are not e¹⁴ times less likely than under the best of them (few
    values fit several families)."""
    errors = {family: _spread_error(statistics, family) for family in _STD_OF_SCALE}
    std, second = statistics.std, statistics.std**2 + statistics.mean**2
    n = statistics.size - statistics.non_finite_count
    fitting: list[tuple[str, float]] = []
    for scheme in schemes:
        family, scale = scheme.family, scheme.scale
        if abs(std / (_STD_OF_SCALE[family] * scale) - 1.0) <= errors[family] and (
            family == NORMAL or _ends_sharply(statistics, family, scale)
        ):
            fitting.append((scheme.name, _log_likelihood(family, scale, n, second)))
    best = max([likelihood for _, likelihood in fitting], default=0.0)
    return tuple(dict.fromkeys([name for name, likelihood in fitting if likelihood >= best - _UNLIKELY]))


def _log_likelihood(family: str, scale: float, n: int, second: float) -> float:
    """Of n values, by their second moment."""
    if family == UNIFORM:
        return -n * math.log(2.0 * scale)
    inside = _INSIDE if family == TRUNCATED else 1.0
    return -n * (math.log(scale * _ROOT_OF_TWO_PI * inside) + 0.5 * second / scale**2)


_ROOT_OF_TWO_PI = math.sqrt(2.0 * math.pi)
_INSIDE = math.erf(TRUNCATION / math.sqrt(2.0))
"""Share of a normal within the truncation."""


def _ends_sharply(statistics: TensorStatistics, family: str, scale: float) -> bool:
    """Both ends of the range lie within the bound, and as near to it as so many draws come."""
    n, rounding = statistics.size - statistics.non_finite_count, ROUNDING[statistics.dtype]
    bound = scale if family == UNIFORM else TRUNCATION * scale
    density = 0.5 if family == UNIFORM else TRUNCATION * _EDGE_DENSITY  # of one end, per bound
    slack = _TAIL / (n * density) + rounding
    high, low = statistics.maximum / bound, -statistics.minimum / bound
    return max(high, low) <= _stored_bound(bound, statistics.dtype) / bound and min(high, low) >= 1.0 - slack


def _stored_bound(bound: float, dtype: str) -> float:
    """The largest stored value that a draw below the bound is rounded to."""
    if dtype == "float16":
        return float(np.float16(bound)) * (1.0 + 1e-6)
    if dtype == "bfloat16":
        bits = np.float32(bound).view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        return float(np.uint32(rounded).view(np.float32)) * (1.0 + 1e-6)
    return bound * (1.0 + ROUNDING[dtype])


_EDGE_DENSITY = math.exp(-0.5 * TRUNCATION**2) / _ROOT_OF_TWO_PI / _INSIDE


def round_bounds(largest: float, n: int) -> list[float]:
    """Numbers of one to three digits that may bound n uniform values of which `largest` is the largest."""
    if largest <= 0.0:
        return []
    ends = largest * (1.0 - 1e-6), largest * (1.0 + SHARP_END / n)
    return list(dict.fromkeys(round_between(*ends) + round_between(*ends, digits=3)))


def round_between(low: float, high: float, digits: int = 2) -> list[float]:
    """Numbers of so many digits, zero among them, from `low` to `high`, at most four."""
    if low <= 0.0 <= high:
        return [0.0]
    nearest, farthest = sorted((abs(low), abs(high)))
    step = 10.0 ** (math.floor(math.log10(nearest)) + 1 - digits)
    first = math.ceil(nearest / step - 1e-6)
    found = [k * step for k in range(first, min(first + 4, math.floor(farthest / step + 1e-6) + 1))]
    return found if low > 0.0 else [-value for value in found]


def natural_scale(statistics: TensorStatistics, family: str) -> float:
    """The scale that the values themselves suggest: from the range for a uniform, from the spread otherwise."""
    n = statistics.size - statistics.non_finite_count
    if family == UNIFORM:
        return statistics.absmax * (1.0 + 1.0 / n)
    return statistics.std / _STD_OF_SCALE[family]


def fits_shape(statistics: TensorStatistics, family: str, kurtosis: float, ordered: Floats) -> bool:
    """Zero mean, and the range, kurtosis and distribution function of the family at its natural scale.

    `kurtosis` is that of the sample; `ordered` holds at most 4096 of its values, sorted.
    """
    n = statistics.size - statistics.non_finite_count
    if statistics.std <= 0.0 or n < 2:
        return False
    if abs(statistics.mean) * math.sqrt(n) > SIGMAS * statistics.std:
        return False
    scale = natural_scale(statistics, family)
    if family == NORMAL:
        if not _normal_extreme(n, statistics.absmax / statistics.std):
            return False
    elif not fits_scale(statistics, family, scale) and not _close_bound(statistics, family, n):
        return False
    m = statistics.sample.size
    room = 5.5 if m >= 1024 else 8.0  # the kurtosis of a small sample is skewed to the right
    if abs(kurtosis - KURTOSIS[family]) > room * _KURTOSIS_SPREAD[family] / math.sqrt(m):
        return False
    return kolmogorov_smirnov(ordered, family, scale) < _KS_LIMIT


def _close_bound(statistics: TensorStatistics, family: str, n: int) -> bool:
    """A truncated normal whose scale is taken from the spread: the bound is then known only as well as the spread."""
    if family != TRUNCATED:
        return False
    bound = TRUNCATION * natural_scale(statistics, family)
    error = SIGMAS * math.sqrt((KURTOSIS[family] - 1.0) / (4.0 * n)) + ROUNDING[statistics.dtype]
    slack = _TAIL / (n * TRUNCATION * _EDGE_DENSITY)
    return bound * (1.0 - error - slack) <= statistics.absmax <= bound * (1.0 + error)


def _normal_extreme(n: int, extremity: float) -> bool:
    """The largest of n standard normals may be that large and that small (each end with probability 1e-6 at most)."""
    outside = math.erfc(extremity / math.sqrt(2.0))
    if n * outside < 1e-6:
        return False
    return n * math.log1p(-min(outside, 1.0 - 1e-16)) > math.log(1e-6)


def kolmogorov_smirnov(ordered: Floats, family: str, scale: float) -> float:
    """√n·sup|F_n − F| for sorted values."""
    n = len(ordered)
    expected = distribution_function(family, ordered / scale)
    steps = _steps(n)
    largest = np.maximum.reduce
    distance = max(float(largest(steps[1:] - expected)), float(largest(expected - steps[:-1])))
    return distance * math.sqrt(n)


@lru_cache(maxsize=64)
def _steps(n: int) -> Floats:
    """0, 1/n, 2/n, … 1."""
    steps: Floats = np.arange(n + 1) / n
    return steps


def ordered_values(sample: npt.NDArray[np.float32]) -> Floats:
    """At most 4096 values spread over the sample, sorted."""
    flat = sample.reshape(-1)
    step = max(1, flat.size // _KS_VALUES)
    while step > 1 and math.gcd(step, 210) > 1:
        step += 1
    ordered: Floats = np.sort(flat[::step].astype(np.float64))
    return ordered


def distribution_function(family: str, x: Floats) -> Floats:
    """F(x) of the family at scale 1."""
    if family == UNIFORM:
        return _clipped(0.5 * (x + 1.0))
    grid, values = _normal_table()
    normal = np.asarray(np.interp(x, grid, values))
    if family == NORMAL:
        return normal
    return _clipped((normal - 0.5 * (1.0 - _INSIDE)) / _INSIDE)


def _clipped(x: Floats) -> Floats:
    """To [0, 1]: what `np.clip` does, in a third of its time on few values."""
    clipped: Floats = np.minimum(np.maximum(x, 0.0), 1.0)
    return clipped


@lru_cache(maxsize=1)
def _normal_table() -> tuple[Floats, Floats]:
    """Φ on a grid of 1/128: linear interpolation errs by less than 4e-6."""
    grid = np.linspace(-6.0, 6.0, 1537)
    return grid, np.array([0.5 * (1.0 + math.erf(z / math.sqrt(2.0))) for z in grid.tolist()])


def uniform_grid_bits(values: npt.NDArray[np.float32], bound: float, rounding: float = 0.6) -> float | None:
    """Evidence, in bits, that float32 values are untouched draws of U(±bound); None when a value rules that out.

    A generator gives k/2²⁴ with whole k, and scaling it to ±bound leaves every value on a grid of step bound/2²³ (half of that where the
    generator rounds finer below one half; a power of two where product and sum were rounded apart). Values below the bound can be stored
    more finely than that, so weights that were changed by as little as one training step miss the grid: each value that lies on it is
    worth as many bits as it had chances to miss. Values that were rounded to half precision before tell nothing: 0. `rounding` is the error of
    a value in steps, at the bound: 0.6 for one rounding, more where the draws were multiplied by something afterwards.
    """
    flat = values.reshape(-1)
    if float(np.count_nonzero(flat.view(np.int32) & 0xFF)) < 0.2 * flat.size:
        return 0.0
    bound = float(np.float32(bound))
    magnitude = np.abs(flat[flat != 0.0]).astype(np.float64)
    few = magnitude[:_FEW].tolist()  # which rule out most bounds
    best: float | None = None
    for step in (bound * 2.0**-23, bound * 2.0**-24):
        growth = 2.0**-23 / step
        if any(_misses_grid(value / step, 0.02 + rounding * value * growth) for value in few if value < 0.4 * bound):
            continue
        small = magnitude[magnitude < 0.4 * bound]
        tolerance = 0.02 + rounding * small * growth
        small, tolerance = small[tolerance < 0.25], tolerance[tolerance < 0.25]
        position = small / step
        if bool((np.abs(position - np.rint(position)) <= tolerance).all()):
            best = max(best or 0.0, float(-np.log2(2.0 * tolerance).sum()))
    exponent = math.floor(math.log2(bound))
    limit, scale = 2.0 ** (exponent - 1), 2.0 ** (24 - exponent)
    if any(_misses_grid(value * scale, 0.0) for value in few if value < limit):
        return best
    small = magnitude[magnitude < limit]
    position = small * scale
    if bool((position == np.rint(position)).all()):
        best = max(best or 0.0, float((exponent - 1 - np.floor(np.log2(small))).sum()) if small.size else 0.0)
    return best


_FEW = 16


def _misses_grid(position: float, tolerance: float) -> bool:
    """A value that lies off the whole numbers by more than its rounding can explain."""
    return tolerance < 0.25 and abs(position - round(position)) > tolerance


def normal_grid_bits(values: npt.NDArray[np.float32], std: float, rounding: float = 5.0) -> float | None:
    """Evidence, in bits, that float32 values are untouched draws of N(0, std²) by torch's generator; None when a value rules that out.

    torch fills sixteen values at a time from sixteen uniforms k/2²⁴ by Box & Muller (1958): the i-th and the (i+8)-th are √(−2 ln(1 − u)) times
    a cosine and a sine, so that exp(−(x² + y²)/2σ²) gives 1 − u back. For pairs far out that is small and known to better than 2⁻²⁴, and
    must be a whole number of those. `values` stand in the order they were drawn in, from the first on; `rounding` is twice their relative error
    in units of 2⁻²⁴.
    """
    pairs = (values[: values.size // 16 * 16].astype(np.float64) / float(np.float32(std))).reshape(-1, 2, 8)
    exponent = 0.5 * (pairs[:, 0] ** 2 + pairs[:, 1] ** 2).reshape(-1)
    exponent = exponent[exponent > 4.0]
    position = np.exp(-exponent) * 2.0**24
    tolerance = 0.02 + rounding * exponent * np.exp(-exponent)
    position, tolerance = position[tolerance < 0.3], tolerance[tolerance < 0.3]
    if bool(np.all(np.abs(position - np.rint(position)) <= tolerance)):
        return float(-np.log2(2.0 * tolerance).sum())
    return None
