"""The named initializers that a tensor of given fan-in and fan-out may have been drawn by. Imports ir only.

Names are one word each: `pytorch-default` (kaiming_uniform with a = √5, which is U(±1/√fan_in)), `xavier-…` (Glorot & Bengio 2010), `kaiming-…`
(He et al. 2015, arXiv:1502.01852), `lecun-…` (LeCun et al. 1998), with `-fan-out` where the fan-out scales, `-tanh-gain` and `-relu-gain` for Xavier times
5/3 and √2, and fixed scales such as `normal-0.02`. Keras, TensorFlow and Flax truncate their scaled normals at two standard deviations and
correct the scale for it; those schemes carry the same names, and the family says which of both it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Parameter, Role

UNIFORM = "uniform"
NORMAL = "normal"
TRUNCATED = "truncated-normal"

_USUAL_STDS = (0.02, 0.01, 1.0, 0.05, 0.1, 0.001, 0.5, 0.25)
_USUAL_BOUNDS = (0.05, 0.1, 0.01, 1.0, 0.5)
"""Fixed scales of tutorials and defaults: GPT-2, BERT, Keras, early TensorFlow."""

TRUNCATION = 2.0
"""Standard deviations at which TensorFlow, Keras and Flax cut a truncated normal."""
TRUNCATED_STD = 0.8796256610342398
"""Standard deviation of a standard normal cut at ±2: √(1 − 4φ(2)/(2Φ(2) − 1))."""


@frozen
class Scheme:
    """A named distribution around zero. `scale` is the bound of a uniform, the standard deviation of a normal, and the standard deviation before
    the cut of a truncated normal."""

    name: str
    family: str
    scale: float


def fans(parameter: Parameter) -> tuple[int, int]:
    """(fan_in, fan_out), from the shape as torch.nn.init counts them where the loader did not tell."""
    shape = parameter.shape
    field = math.prod(shape[2:])
    fan_in = parameter.fan_in or (math.prod(shape[1:]) if len(shape) > 1 else parameter.size)
    fan_out = parameter.fan_out or (shape[0] * field if len(shape) > 1 else parameter.size)
    return max(1, fan_in), max(1, fan_out)


def weight_schemes(parameter: Parameter, residual_branches: int = 0) -> tuple[Scheme, ...]:
    """Candidates for a weight matrix, kernel, recurrent weight or embedding.

    `residual_branches` is the number of residual branches of the model (two in each transformer block); GPT-2 scales the last layer of each by
    its inverse square root (Radford et al. 2019).
    """
    shape, role = parameter.shape, parameter.role
    return _weight_schemes(role, shape, *fans(parameter), parameter.gates, parameter.groups, residual_branches)


@lru_cache(maxsize=1024)
def _weight_schemes(
    role: Role, shape: tuple[int, ...], fan_in: int, fan_out: int, gates: int, groups: int, residual_branches: int
) -> tuple[Scheme, ...]:
    found = [
        Scheme("xavier-uniform", UNIFORM, math.sqrt(6.0 / (fan_in + fan_out))),
        *_both("xavier-normal", math.sqrt(2.0 / (fan_in + fan_out))),
    ]
    for suffix, gain in (("tanh-gain", 5.0 / 3.0), ("relu-gain", math.sqrt(2.0))):
        found.append(Scheme(f"xavier-uniform-{suffix}", UNIFORM, gain * math.sqrt(6.0 / (fan_in + fan_out))))
        found.append(Scheme(f"xavier-normal-{suffix}", NORMAL, gain * math.sqrt(2.0 / (fan_in + fan_out))))
    if role in (Role.EMBEDDING, Role.POSITION):
        width = shape[-1] if shape else 1
        found.append(Scheme("normal-rsqrt-width", NORMAL, width**-0.5))
    else:
        found += _fan_schemes(role, shape, fan_in, fan_out, gates, groups)
    for scale in _USUAL_STDS:
        found.append(Scheme(f"normal-{scale:g}", NORMAL, scale))
        found.append(Scheme(f"truncated-normal-{scale:g}", TRUNCATED, scale))
    found += [Scheme(f"uniform-{bound:g}", UNIFORM, bound) for bound in _USUAL_BOUNDS]
    if residual_branches > 1:
        found.append(Scheme("normal-0.02-residual", NORMAL, 0.02 / math.sqrt(residual_branches)))
    return tuple(found)


def bias_schemes(fan_in: int | None, hidden: int | None) -> tuple[Scheme, ...]:
    """Candidates for a bias that is not constant: torch draws it as it draws the weight, U(±1/√fan_in); in recurrent layers U(±1/√hidden)."""
    found = []
    if hidden:
        found.append(Scheme("pytorch-default", UNIFORM, hidden**-0.5))
    elif fan_in:
        found.append(Scheme("pytorch-default", UNIFORM, fan_in**-0.5))
    return (*found, Scheme("normal-0.02", NORMAL, 0.02), Scheme("uniform-0.05", UNIFORM, 0.05))


def _fan_schemes(
    role: Role, shape: tuple[int, ...], fan_in: int, fan_out: int, gates: int, groups: int
) -> Iterable[Scheme]:
    if role in (Role.INPUT_WEIGHT, Role.RECURRENT_WEIGHT):
        hidden = max(1, shape[1] // gates if len(shape) == 3 else fan_out)
        yield Scheme("pytorch-default", UNIFORM, hidden**-0.5)
        fan_in = shape[-1]
        for rows in {hidden, hidden * gates} - {fan_out}:  # Keras draws all gates as one matrix
            yield Scheme("xavier-uniform", UNIFORM, math.sqrt(6.0 / (fan_in + rows)))
            yield from _both("xavier-normal", math.sqrt(2.0 / (fan_in + rows)))
    else:
        yield Scheme("pytorch-default", UNIFORM, fan_in**-0.5)
        if fan_in == fan_out:  # queries, keys and values that were drawn as one matrix and stored apart
            yield Scheme("xavier-uniform", UNIFORM, math.sqrt(6.0 / (4 * fan_in)))
    yield Scheme("kaiming-uniform", UNIFORM, math.sqrt(6.0 / fan_in))
    yield from _both("kaiming-normal", math.sqrt(2.0 / fan_in))
    yield Scheme("lecun-uniform", UNIFORM, math.sqrt(3.0 / fan_in))
    yield from _both("lecun-normal", math.sqrt(1.0 / fan_in))
    for outgoing in {
        fan_out,
        max(1, fan_out // groups),
    }:  # torch counts all groups, Keras and EfficientNet one
        yield Scheme("kaiming-uniform-fan-out", UNIFORM, math.sqrt(6.0 / outgoing))
        yield from _both("kaiming-normal-fan-out", math.sqrt(2.0 / outgoing))


def _both(name: str, std: float) -> tuple[Scheme, Scheme]:
    """A scaled normal as torch draws it, and as Keras does: cut at two standard deviations, widened so that `std` is what is left."""
    return Scheme(name, NORMAL, std), Scheme(name, TRUNCATED, std / TRUNCATED_STD)
