"""Which initializer drew these weights? Family and named schemes of one tensor, or the reason why it is none. Imports ir only.

An identity says how it stands to a fresh draw: *untouched* (only a fresh tensor looks so: on the generator's grid, exactly orthogonal, identity),
*compatible* (a fresh draw would look so; barely trained weights may, too), *constant* (equal values or units, which no training makes), *loose* (a bias
that follows a distribution of no known scale: drawn by hand, or moved from zero by a few steps), *changed* (no fresh draw looks so), or *silent*
(too few values to tell). What it was, fresh or trained, is decided with its neighbours in `freshness`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Parameter
from trainaudit.measure.static.distribution import (
    ROUNDING,
    SHARP_END,
    SIGMAS,
    fits_shape,
    likely_names,
    natural_scale,
    ordered_values,
    round_between,
)
from trainaudit.measure.static.grids import normal_grid_names, starts_at_zero, uniform_grid_names
from trainaudit.measure.static.independence import is_independent
from trainaudit.measure.static.schemes import NORMAL, TRUNCATED, UNIFORM, Scheme, bias_schemes, weight_schemes
from trainaudit.measure.static.special_matrices import is_identity, orthogonal_gain
from trainaudit.measure.static.tensor_statistics import TensorStatistics

UNTOUCHED = "untouched"
COMPATIBLE = "compatible"
CONSTANT = "constant"
CHANGED = "changed"
LOOSE = "loose"
SILENT = "silent"

_NEAR_BOUND = 1.25
_GRID_KURTOSIS = 2.2
_BOUNDED_VALUES = 512
"""So many values around a middle other than zero, within two round ends, are a draw: training would have carried some beyond them."""
_LUCK = 0.2
"""Chance at which a number still tells something by being round."""
_DISTINCT_VALUES = 64


@frozen
class Identity:
    """`names` are the schemes that fit, without repetition; `standing` is one of the six words above."""

    family: str
    names: tuple[str, ...]
    standing: str

    @property
    def scheme(self) -> str:
        return "|".join(self.names) or "unknown"


@frozen(eq=False)
class MeasuredParameter:
    """A parameter whose values were read, and what they are."""

    parameter: Parameter
    statistics: TensorStatistics
    identity: Identity


_UNKNOWN = Identity("unknown", (), SILENT)


def identify_weight(
    parameter: Parameter, statistics: TensorStatistics, residual_branches: int = 0, folded: bool = False
) -> Identity:
    """A weight matrix, kernel, recurrent weight, embedding or positional tensor.

    `folded` says that a BatchNorm was multiplied into it at export: each unit then has a scale of its own, so that only the values within a
    unit can be told from a draw, and no scheme can be named.
    """
    plain = _plain_identity(statistics)
    if plain is not None:
        return plain
    if is_identity(parameter, statistics):
        return Identity("identity", ("identity" if len(parameter.shape) == 2 else "dirac",), UNTOUCHED)
    gain = orthogonal_gain(parameter, statistics)
    if gain is not None:
        return Identity("orthogonal", (_orthogonal_name(gain),), UNTOUCHED)
    if statistics.zero_count > 0.1 * statistics.size and statistics.size >= 256:
        return _sparse(statistics)
    found = _drawn(statistics, weight_schemes(parameter, residual_branches), _is_matrix(statistics))
    if folded and found.standing == CHANGED and parameter.unit_axis == 0 and _is_matrix(statistics):
        return _drawn(per_unit(statistics), (), True)
    return found


def per_unit(statistics: TensorStatistics) -> TensorStatistics:
    """The sample with every row scaled to the same second moment, as a tensor of its own."""
    sample = _without_zero_rows(statistics.sample)
    rows = sample / np.sqrt(np.mean(sample * sample, axis=1, keepdims=True))
    return replace(
        statistics, size=rows.size, mean=float(rows.mean()), std=float(rows.std(dtype=np.float64)), minimum=float(rows.min()),
        maximum=float(rows.max()), sample=rows, column_sums=None,
    )  # fmt: skip


def identify_bias(
    statistics: TensorStatistics, fan_in: int | None, hidden: int | None, is_recurrent: bool = False
) -> Identity:
    """A bias. Blocks of equal values (an LSTM's forget gate at one, a detector's prior) count as constant."""
    plain = _plain_identity(statistics)
    if plain is not None:
        return plain
    values = statistics.sample.reshape(-1)
    different = set(values[:_DISTINCT_VALUES].tolist())
    if len(different) <= 4 and len(different := set(values.tolist())) <= min(4, max(1, statistics.size // 8)):
        names = ("zeros-forget-ones",) if is_recurrent and different == {0.0, 1.0} else ()
        return Identity("constant", names, CONSTANT)
    if statistics.size < 8:
        return _UNKNOWN
    found = _drawn(statistics, bias_schemes(fan_in, hidden), False)
    if found.standing == CHANGED:
        around = _offset(statistics)
        found = _drawn(_moved(statistics, -around), (), False) if around else found
    if found.names or found.standing == CHANGED:
        return found
    # Where the weight beside it is not known, neither is the bound that a fresh bias would have.
    default = hidden or fan_in
    if default is None:
        return Identity(found.family, (), SILENT)
    has_crossed = found.family == UNIFORM and _is_near(statistics.absmax * math.sqrt(default))
    return Identity(found.family, (), CHANGED if has_crossed else LOOSE)


def _is_near(ratio: float) -> bool:
    """A little beyond the bound of torch's default: a draw of torch's that was changed."""
    return 1.0 <= ratio <= _NEAR_BOUND


def identify_around(statistics: TensorStatistics, home: float) -> Identity:
    """A normalization's scale or shift, a running statistic, a slope: constant, or changed by training."""
    plain = _plain_identity(statistics)
    if plain is not None:
        if statistics.size and statistics.mean != home and statistics.size < 4:
            return Identity(plain.family, plain.names, SILENT)
        return plain
    return Identity("trained", (), CHANGED)


def _plain_identity(statistics: TensorStatistics) -> Identity | None:
    """Zeros, constants, empty and non-finite tensors."""
    if statistics.size == 0 or statistics.non_finite_count:
        return _UNKNOWN
    if statistics.zero_count == statistics.size:
        return Identity("zeros", ("zeros",), CONSTANT)
    if statistics.is_constant:
        return Identity("constant", (_number_name("constant", statistics.mean),), CONSTANT)
    return None


def _number_name(word: str, value: float) -> str:
    return "ones" if word == "constant" and value == 1.0 else f"{word}-{value:.4g}"


def _drawn(statistics: TensorStatistics, schemes: Iterable[Scheme], is_matrix: bool) -> Identity:
    """The families whose shape fits, the schemes whose scale fits, and whether the entries are independent."""
    offset = _offset(statistics) if is_matrix else 0.0
    if offset:
        found = _drawn(_moved(statistics, -offset), (), True)
        standing = _standing_of_offset(statistics, found.standing) if found.family == UNIFORM else found.standing
        return Identity(found.family, _offset_name(statistics, found.family), standing)
    sample = _without_zero_rows(statistics.sample) if is_matrix else statistics.sample
    if sample.size < 8 or statistics.std <= 0.0:
        return _UNKNOWN
    scaled = sample / np.float32(statistics.std)
    squares = scaled * scaled
    kurtosis = _mean(squares * squares) / _mean(squares) ** 2
    candidates = list(schemes)
    grid: float | None = 0.0
    if statistics.dtype == "float32" and kurtosis < _GRID_KURTOSIS:
        grid, names = uniform_grid_names(statistics, sample, candidates)
        if grid:
            return Identity(UNIFORM, names, UNTOUCHED)
    families = _families(statistics, kurtosis, sample)
    if not families:
        return Identity("trained", (), CHANGED) if statistics.size >= 64 else Identity("unknown", (), SILENT)
    names = likely_names(statistics, [s for s in candidates if s.family in families])
    if is_matrix and not is_independent(statistics, scaled, squares, kurtosis):
        return Identity("trained", (), CHANGED)
    # where another scheme fits as well, a generator without torch's grid may have drawn it
    if grid is None and families[0] == UNIFORM and names == ("pytorch-default",):
        return Identity("trained", (), CHANGED)
    if NORMAL in families and statistics.dtype == "float32" and statistics.size >= 256:
        drawn = normal_grid_names(statistics, candidates)
        if drawn:
            return Identity(NORMAL, drawn, UNTOUCHED)
    if not names:
        names = _round_name(statistics, families[0])
    standing = COMPATIBLE if statistics.size >= 64 else SILENT
    return Identity(families[0] if statistics.size >= 32 or names else "unknown", names, standing)


def _mean(values: npt.NDArray[np.float32]) -> float:
    """What `np.mean` gives, in half of its time on few values."""
    return float(np.add.reduce(values, axis=None) / values.size)


def _offset(statistics: TensorStatistics) -> float:
    """What a draw around something else than zero is around: the middle of its range (torch.rand, U(0, b)) or, where it is a good part of the spread,
    its mean; 0 for a draw around zero."""
    n = statistics.size - statistics.non_finite_count
    error = statistics.std / math.sqrt(max(1, n))
    if abs(statistics.mean) <= SIGMAS * error:
        return 0.0
    middle = 0.5 * (statistics.minimum + statistics.maximum)
    if abs(statistics.mean - middle) <= SIGMAS * error:
        return middle
    return statistics.mean if abs(statistics.mean) > 0.25 * statistics.std else 0.0


def _moved(statistics: TensorStatistics, by: float) -> TensorStatistics:
    """The statistics of the same values with a number added to each."""
    sums = statistics.column_sums
    sample = statistics.sample + np.float32(by)
    mean = 0.0 if abs(statistics.mean + by) < 1e-6 * statistics.std else statistics.mean + by
    return replace(
        statistics, mean=mean, minimum=statistics.minimum + by, maximum=statistics.maximum + by, sample=sample,
        column_sums=None if sums is None else sums + by * statistics.rows, head=statistics.head[:0], first_columns=None,
    )  # fmt: skip


def _offset_name(statistics: TensorStatistics, family: str) -> tuple[str, ...]:
    low, high = statistics.minimum, statistics.maximum
    if family == UNIFORM:
        return (f"uniform-{0.0 if 0.0 < low < 0.01 * high else low:.3g}-to-{high:.3g}",)
    return (f"{family}-{statistics.std:.2g}-around-{statistics.mean:.2g}",) if family in (NORMAL, TRUNCATED) else ()


def _standing_of_offset(statistics: TensorStatistics, standing: str) -> str:
    """Of values that are uniform around something else than zero: untouched where they are U(0, b) on the generator's grid, or many and U(a, b) with
    two round ends. Nobody draws between other ends, and a few trained values may look so: they are silent."""
    if starts_at_zero(statistics):
        return UNTOUCHED
    n = statistics.size - statistics.non_finite_count
    room = SHARP_END * (statistics.maximum - statistics.minimum) / n
    if not (_is_round(statistics.maximum, room) and _is_round(-statistics.minimum, room)):
        return SILENT if standing == COMPATIBLE else standing
    return UNTOUCHED if n >= _BOUNDED_VALUES else standing


def _is_round(end: float, room: float) -> bool:
    """Whether a number of one or two digits lies from `end` on within `room`, where that is no matter of luck."""
    if end <= 0.0 <= end + room:
        return True
    size = math.floor(math.log10(max(abs(end), abs(end + room)))) + 1
    return any(
        room <= _LUCK * 10.0 ** (size - digits) and bool(round_between(end, end + room, digits)) for digits in (1, 2)
    )


def _families(statistics: TensorStatistics, kurtosis: float, sample: npt.NDArray[np.float32]) -> list[str]:
    """The families that fit, the nearest first. One look at the kurtosis spares most tensors the rest."""
    room = 40.0 / math.sqrt(sample.size)
    if kurtosis > 3.0 + max(room, 0.5):
        return []
    ordered = ordered_values(sample)
    found = [f for f in (UNIFORM, TRUNCATED, NORMAL) if fits_shape(statistics, f, kurtosis, ordered)]
    nearest = {UNIFORM: 1.8, TRUNCATED: 2.37, NORMAL: 3.0}
    return sorted(found, key=lambda f: abs(kurtosis - nearest[f]))


def _without_zero_rows(sample: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The padding row of an embedding is zero and says nothing about the draw."""
    zero = ~sample.any(axis=1)
    return sample[~zero] if bool(zero.any()) and not bool(zero.all()) else sample


def _is_matrix(statistics: TensorStatistics) -> bool:
    return bool(min(statistics.sample.shape) >= 8)


def _round_name(statistics: TensorStatistics, family: str) -> tuple[str, ...]:
    """`normal-0.03` where the scale is a number of one or two digits, known well enough for that to mean something."""
    n = statistics.size - statistics.non_finite_count
    scale = natural_scale(statistics, family)
    error = 20.0 / n if family == UNIFORM else 4.7 * math.sqrt(0.5 / n)
    for digits in (1, 2):
        value = float(f"{scale:.{digits - 1}e}")
        is_within = family != UNIFORM or statistics.absmax <= value * (1.0 + ROUNDING[statistics.dtype])
        if is_within and error < 0.02 / 10 ** (digits - 1) and abs(scale / value - 1.0) <= error + 1e-4:
            return (f"{family}-{value:.3g}",)
    return ()


def _sparse(statistics: TensorStatistics) -> Identity:
    """Many exact zeros among values that are normal (torch.nn.init.sparse_, Martens 2010), or a pruned trained tensor."""
    kept = statistics.sample[statistics.sample != 0.0]
    if kept.size < 64:
        return Identity("sparse", (), SILENT)
    scaled = kept / np.float32(math.sqrt(float(np.mean(kept.astype(np.float64) ** 2))))
    kurtosis = float(np.mean(scaled.astype(np.float64) ** 4))
    if abs(kurtosis - 3.0) > 6.0 * math.sqrt(24.0 / kept.size):
        return Identity("trained", (), CHANGED)
    return Identity("sparse", ("sparse",), COMPATIBLE)


def _orthogonal_name(gain: float) -> str:
    return "orthogonal" if abs(gain - 1.0) < 1e-3 else f"orthogonal-{gain:.4g}"
