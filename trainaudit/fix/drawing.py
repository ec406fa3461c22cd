"""Weights that are drawn anew: the schemes of the kind "initialize", the same for a module and for a file. May import `ir`, `changes` and numpy."""

from __future__ import annotations

import math
import zlib

import numpy as np
import numpy.typing as npt

from trainaudit.changes import SCHEMES
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.ir.graph import Parameter, Role

Floats = npt.NDArray[np.float64]
Generator = np.random.Generator

_STD = 0.02
"""Of "normal" without an amount, as in BERT and GPT-2."""


def drawn(parameter: Parameter, scheme: str, amount: float | None, seed: int) -> Floats:
    """New values of a parameter, float64 in its shape. `amount` is the scheme's gain, of "normal" its standard deviation.

    Variance of the schemes: kaiming gain²/fan_in with gain √2 (He et al. 2015), xavier gain²·2/(fan_in + fan_out) with gain 1 (Glorot & Bengio 2010),
    lecun gain²/fan_in with gain 1 (LeCun et al. 1998); uniform ones lie within √3 standard deviations. orthogonal: gain times a matrix with
    orthonormal rows or columns over (units, rest), gate by gate (Saxe et al. 2014). What is drawn depends on the seed and the parameter's name
    alone. Raises `NotApplicableError` where the weight's fan-in or unit axis is not known.
    """
    if scheme not in SCHEMES:
        raise NotApplicableError(f'"{scheme}" is no scheme')
    generator = np.random.default_rng([seed, zlib.crc32(parameter.name.encode("utf-8", "surrogatepass"))])
    if scheme in ("zeros", "ones"):
        return np.full(parameter.shape, float(scheme == "ones"))
    if scheme == "normal":
        return generator.normal(0.0, _STD if amount is None else amount, parameter.shape)
    if scheme == "orthogonal":
        return _orthogonal(parameter, 1.0 if amount is None else amount, generator)
    std = _std(parameter, scheme.partition("_")[0], amount)
    if scheme.endswith("uniform"):
        bound = math.sqrt(3.0) * std
        return generator.uniform(-bound, bound, parameter.shape)
    return generator.normal(0.0, std, parameter.shape)


def _std(parameter: Parameter, family: str, amount: float | None) -> float:
    gain = amount if amount is not None else math.sqrt(2.0) if family == "kaiming" else 1.0
    fan_in, fan_out = parameter.fan_in, parameter.fan_out
    if not fan_in or (family == "xavier" and not fan_out):
        raise NotApplicableError(f"the fan-in of {parameter.name} is not known")
    if family == "xavier":
        assert fan_out is not None
        return gain * math.sqrt(2.0 / (fan_in + fan_out))
    return gain / math.sqrt(fan_in)


def _orthogonal(parameter: Parameter, gain: float, generator: Generator) -> Floats:
    axis, shape = parameter.unit_axis, parameter.shape
    if axis is None or len(shape) < 2:
        raise NotApplicableError(f"the unit axis of {parameter.name} is not known")
    if (
        parameter.role in (Role.INPUT_WEIGHT, Role.RECURRENT_WEIGHT) and len(shape) == 3
    ):  # of a file: (directions, gates·units, columns)
        sides = [_by_gate(shape[1], shape[2], parameter.gates, generator) for _ in range(shape[0])]
        return gain * np.stack(sides)
    rest = (*shape[:axis], *shape[axis + 1 :])
    matrix = _by_gate(shape[axis], math.prod(rest), parameter.gates, generator)
    return gain * np.moveaxis(matrix.reshape(shape[axis], *rest), 0, axis)


def _by_gate(rows: int, columns: int, gates: int, generator: Generator) -> Floats:
    return np.concatenate([_matrix(rows // gates, columns, generator) for _ in range(gates)])


def _matrix(rows: int, columns: int, generator: Generator) -> Floats:
    """Uniformly distributed with orthonormal rows, or columns where there are fewer of them: the signs of R's diagonal make it so (Mezzadri 2007)."""
    normal = generator.normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(normal)
    q = q * np.sign(np.diag(r))
    return q if rows >= columns else q.T
