"""Fresh or trained: every parameter says what it knows, and those that cannot tell follow the vote. Imports ir only.

Weights speak first, since converters add zero biases and unit scales of their own; where most weights cannot tell (a normal draw that was trained for
a few steps still looks like one), biases, normalizations and running statistics decide: training moves them from the very first step. Biases that
may have been drawn by hand, all of one spread, decide nothing; nor does a vote of biases overrule weights that no training makes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from trainaudit.ir.graph import Role
from trainaudit.measure.static.initialization import (
    CHANGED,
    COMPATIBLE,
    CONSTANT,
    LOOSE,
    UNTOUCHED,
    MeasuredParameter,
)
from trainaudit.measure.static.schemes import TRUNCATED, UNIFORM

FRESH = "fresh"
TRAINED = "trained"
MIXED = "mixed"
UNKNOWN = "unknown"

WEIGHT_ROLES = frozenset({Role.WEIGHT, Role.INPUT_WEIGHT, Role.RECURRENT_WEIGHT, Role.EMBEDDING})
_BOUNDED_SIZE = 1024
_SPEAKING_SIZE = 256
"""A weight with fewer values than that does not speak for the model."""
_CONSTANT_SIZE = 8
_SAME_SPREAD = 3.5
"""Standard deviations within which biases are of one spread."""


def model_state(measured: Iterable[MeasuredParameter]) -> str:
    """fresh, trained, mixed or unknown, by vote."""
    known = list(measured)
    changed_layers = {one.parameter.owners[0] for one in known if _is_weight(one) and one.identity.standing == CHANGED}
    # A forward pass in training mode (an export makes one) moves running statistics; training moves scales and shifts as well.
    is_scaled = any(one.parameter.role in (Role.SCALE, Role.SHIFT) for one in known)
    # and statistics that stand still beside a trained scale were reset, or never taken: they speak for no fresh model
    moved_layers = {
        one.parameter.owners[0]
        for one in known
        if one.parameter.role in (Role.SCALE, Role.SHIFT) and one.identity.standing == CHANGED
    }
    drawn_alike = _is_drawn_alike(known)
    untouched = changed = silent = still = moved = constant = 0
    for one in known:
        role, standing, layer = one.parameter.role, one.identity.standing, one.parameter.owners[0]
        if _is_weight(one):
            large = one.parameter.size >= _SPEAKING_SIZE and standing != CONSTANT
            untouched += standing == UNTOUCHED
            changed += large and standing == CHANGED
            silent += large and standing not in (UNTOUCHED, CHANGED)
            constant += standing == CONSTANT and one.parameter.size >= _CONSTANT_SIZE
        elif role in (Role.RUNNING_MEAN, Role.RUNNING_VARIANCE) and (
            is_scaled if standing == CHANGED else layer in moved_layers
        ):
            continue
        elif role not in (Role.POSITION, Role.CONSTANT):
            moved += standing == CHANGED or (standing == LOOSE and not drawn_alike)
            still += standing == UNTOUCHED or (standing == CONSTANT and layer not in changed_layers)
    if untouched + changed > 0.3 * (untouched + changed + silent):
        return _majority(changed / (untouched + changed), 0.1)
    if not changed and constant > silent:
        return FRESH
    if untouched + changed + moved + still:
        return _majority((changed + moved) / (untouched + changed + moved + still), 0.25)
    # training leaves no model of constants alone
    is_constant = bool(known) and all(one.identity.standing == CONSTANT for one in known)
    bounded = [one for one in known if _is_weight(one) and one.identity.family in (UNIFORM, TRUNCATED)]
    return FRESH if is_constant or (_has_large(bounded) and all(map(_ends_as_drawn, bounded))) else UNKNOWN


def _has_large(bounded: Iterable[MeasuredParameter]) -> bool:
    return any(one.parameter.size >= _BOUNDED_SIZE for one in bounded)


def _ends_as_drawn(one: MeasuredParameter) -> bool:
    """A named draw within bounds, of many values: even little training carries some beyond them. A normal has no bounds to cross. Few values tell
    nothing."""
    identity = one.identity
    return one.parameter.size < _BOUNDED_SIZE or (bool(identity.names) and identity.standing == COMPATIBLE)


def _is_drawn_alike(known: Sequence[MeasuredParameter]) -> bool:
    """Whether the loose biases have one spread, as a loop over the parameters draws them, or one ratio to the spread of the weights beside them,
    as a factor leaves them. Training moves the biases of each layer by a measure of its own."""
    weights = {one.parameter.owners[0]: one.statistics.std for one in known if _is_weight(one)}
    spreads, ratios = [], []
    for one in known:
        if one.identity.standing != LOOSE:
            continue
        statistics = one.statistics
        error = math.sqrt((0.8 if one.identity.family == UNIFORM else 2.0) / (4.0 * statistics.size))
        spreads.append((math.log(statistics.std), error))
        if weights.get(one.parameter.owners[0], 0.0) > 0.0:
            ratios.append((math.log(statistics.std / weights[one.parameter.owners[0]]), error))
    return _agree(spreads) or (len(ratios) == len(spreads) and _agree(ratios))


def _agree(measured: Sequence[tuple[float, float]]) -> bool:
    """(value, standard deviation) of each: all near their weighted mean."""
    if not measured:
        return True
    mean = sum(value / error**2 for value, error in measured) / sum(error**-2 for _, error in measured)
    return all(abs(value - mean) <= _SAME_SPREAD * error for value, error in measured)


def parameter_states(measured: Iterable[MeasuredParameter], model: str) -> Mapping[str, str]:
    """Parameter name → fresh, trained or unknown."""
    known = list(measured)
    layer_standing: dict[int, str] = {}
    for one in known:
        if _is_weight(one) and one.identity.standing in (UNTOUCHED, CHANGED):
            layer_standing[one.parameter.owners[0]] = one.identity.standing
    states = {}
    for one in known:
        standing = one.identity.standing
        if standing == UNTOUCHED or (standing == CONSTANT and _is_weight(one)):
            state = FRESH
        elif standing == LOOSE and model == MIXED:
            state = UNKNOWN if layer_standing.get(one.parameter.owners[0]) == UNTOUCHED else TRAINED
        elif standing == CHANGED:
            # A fresh model may hold designed values (sinusoids, decay rates): only its weights are called trained.
            state = TRAINED if model != FRESH or _is_weight(one) else UNKNOWN
        elif model in (FRESH, TRAINED):
            state = model
        else:
            of_layer = layer_standing.get(one.parameter.owners[0])
            state = {UNTOUCHED: FRESH, CHANGED: TRAINED}.get(of_layer or "", UNKNOWN)
        states[one.parameter.name] = state
    return states


def trained_behind(measured: Iterable[MeasuredParameter], states: Mapping[str, str]) -> dict[str, float]:
    """Weight → share of the weights further on in the model that are trained: a head that is meant to be new has none."""
    weights = sorted(
        (one.parameter for one in measured if _is_weight(one) and one.parameter.size >= _SPEAKING_SIZE),
        key=lambda parameter: parameter.owners[0],
        reverse=True,
    )
    shares: dict[str, float] = {}
    trained = 0
    for count, parameter in enumerate(weights):
        shares[parameter.name] = trained / count if count else 0.0
        trained += states.get(parameter.name) == TRAINED
    return shares


def _is_weight(one: MeasuredParameter) -> bool:
    return one.parameter.role in WEIGHT_ROLES


def _majority(trained_share: float, margin: float) -> str:
    if trained_share >= 1.0 - margin:
        return TRAINED
    return FRESH if trained_share <= margin else MIXED
