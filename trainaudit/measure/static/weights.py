"""Facts of weights: every parameter is read once, named, and voted on; layers then get what follows from their weights. Imports ir and measure.facts only."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from trainaudit.ir.graph import TRAINABLE_ROLES, Graph, Parameter, Role
from trainaudit.ir.ops import RECURRENT, Op
from trainaudit.measure.facts import Columns, FactValue, Unmeasured
from trainaudit.measure.static.attention_weights import measure_attention_weights
from trainaudit.measure.static.duplicates import duplicate_unit_share, identical_parameters
from trainaudit.measure.static.freshness import TRAINED, WEIGHT_ROLES, model_state, parameter_states, trained_behind
from trainaudit.measure.static.initialization import (
    CHANGED,
    CONSTANT,
    LOOSE,
    SILENT,
    Identity,
    MeasuredParameter,
    identify_around,
    identify_bias,
    identify_weight,
    per_unit,
)
from trainaudit.measure.static.layer_weights import measure_layer_weights, unread_reason
from trainaudit.measure.static.spectrum import is_rank_deficient, stable_rank_ratios
from trainaudit.measure.static.tensor_statistics import FLOATS, TensorStatistics, tensor_statistics, trimmed

MEASURED_ROLES = TRAINABLE_ROLES | {Role.RUNNING_MEAN, Role.RUNNING_VARIANCE}

_MATRIX_ROLES = frozenset({Role.WEIGHT, Role.INPUT_WEIGHT, Role.RECURRENT_WEIGHT})
_CALL = re.compile(r"_\d+(?=\.|$)")
_COPIED_SHARE = 0.2
"""Half-precision units of few weights repeat by chance, a good deal more rarely than that."""
_MANY = 400
"""Parameters beyond which less is kept of each: 64 × 64 values instead of 128 × 128."""
_PER_TENSOR = (
    "family", "scheme", "mean", "std", "absmax", "extremity", "zero_share", "denormal_share", "non_finite_count", "nan_count",
    "duplicate_unit_share", "identical_count", "stable_rank_ratio",
)  # fmt: skip


def measure_weights(graph: Graph, structure: Columns) -> Columns:
    """Every fact whose source is the weights. `structure` holds the graph's facts (layer.activation, layer.role); what it lacks is traced here
    or left out. Reads each tensor once, in blocks."""
    columns: Columns = defaultdict(dict)
    measured: dict[str, MeasuredParameter] = {}
    generated = 0
    side = 128 if len(graph.parameters) <= _MANY else 64
    folded = frozenset(graph.folded_normalizations)
    branches = 2 * [layer.op for layer in graph.layers].count(Op.ATTENTION)
    with np.errstate(all="ignore"):
        for parameter in graph.parameters.values():
            if parameter.role not in MEASURED_ROLES or not parameter.owners:
                continue
            if parameter.generated or parameter.quantized or parameter.data.dtype not in FLOATS:
                generated += bool(parameter.generated)
                _put_unmeasured(columns, parameter, unread_reason(parameter))
                continue
            statistics = tensor_statistics(parameter)
            identity = _identify(graph, parameter, statistics, branches, folded)
            _put_statistics(columns, parameter, statistics)
            measured[parameter.name] = MeasuredParameter(parameter, trimmed(statistics, side), identity)
        state = model_state(measured.values())
        if state != TRAINED or not any(_has_moved(one) for one in measured.values()):
            measured = {name: _without_false_training(one) for name, one in measured.items()}
            state = model_state(measured.values())
        state = "generated" if generated > len(measured) else state
        states = parameter_states(measured.values(), state)
        columns["model.weights_state"] = {"model": state}
        for name, one in measured.items():
            columns["parameter.state"][name] = states[name]
            columns["parameter.family"][name] = one.identity.family
            columns["parameter.scheme"][name] = one.identity.scheme
        columns["parameter.trained_behind_share"] = {**trained_behind(measured.values(), states)}
        drawn = (
            (name, one)
            for name, one in measured.items()
            if states[name] != TRAINED and one.parameter.role in _MATRIX_ROLES and one.identity.standing != CONSTANT
        )
        for name, ratio in stable_rank_ratios((name, _sample(graph, one, folded)) for name, one in drawn).items():
            columns["parameter.stable_rank_ratio"][name] = ratio
        _put_identical(graph, columns, measured)
        measure_layer_weights(graph, structure, measured, states, columns)
        measure_attention_weights(graph, measured, columns)
    return columns


def _sample(graph: Graph, one: MeasuredParameter, folded: frozenset[str]) -> npt.NDArray[np.float32]:
    """The sample of a draw: the factors of a folded BatchNorm, one per unit, are no part of it."""
    is_folded = graph.layers[one.parameter.owners[0]].name in folded
    return (per_unit(one.statistics) if is_folded else one.statistics).sample


def _has_moved(one: MeasuredParameter) -> bool:
    return one.identity.standing == CHANGED and one.parameter.role in (Role.BIAS, Role.SCALE, Role.SHIFT)


def _without_false_training(one: MeasuredParameter) -> MeasuredParameter:
    """A weight of exactly low rank is no draw, yet training does not make one either: it follows the vote."""
    if one.identity.standing != CHANGED or one.parameter.role not in _MATRIX_ROLES:
        return one
    if not is_rank_deficient(one.statistics.sample):
        return one
    return MeasuredParameter(one.parameter, one.statistics, Identity("unknown", (), SILENT))


def _identify(
    graph: Graph, parameter: Parameter, statistics: TensorStatistics, branches: int, folded: frozenset[str]
) -> Identity:
    role = parameter.role
    if role is Role.BIAS:
        layer = graph.layers[parameter.owners[0]]
        hidden = layer.attributes.get("hidden_size") if layer.op in RECURRENT else None
        size = hidden if isinstance(hidden, int) else None
        weight = graph.parameter_of(layer, Role.WEIGHT)
        found = identify_bias(statistics, weight.fan_in if weight else None, size, size is not None)
        # Behind a folded BatchNorm a bias is −μγ/√(σ² + ε), which a single forward pass in training mode moves from zero.
        return replace(found, standing=SILENT) if layer.name in folded and found.standing in (CHANGED, LOOSE) else found
    if role in (Role.SCALE, Role.RUNNING_VARIANCE):
        return identify_around(statistics, 1.0)
    if role in (Role.SHIFT, Role.RUNNING_MEAN):
        return identify_around(statistics, 0.0)
    if role is Role.SLOPE:
        return identify_around(statistics, 0.25)
    owner = graph.layers[parameter.owners[0]]
    found = identify_weight(parameter, statistics, branches, owner.name in folded)
    if found.standing == CHANGED and role in _MATRIX_ROLES and _has_copied_units(parameter, statistics):
        return Identity("unknown", (), CONSTANT)
    if found.standing == CHANGED and owner.attributes.get("reparametrized"):
        # the graph standardizes or normalizes it at each step: what a draw looks like behind that is not known, so that it follows the vote
        return Identity("unknown", (), SILENT)
    return found


def _has_copied_units(parameter: Parameter, statistics: TensorStatistics) -> bool:
    """Many units hold the weights of another one, bit for bit: no training makes that, except of units that it set to zero."""
    units = parameter.shape[parameter.unit_axis] if parameter.unit_axis is not None else 0
    if not units or parameter.size < 4 * units or statistics.zero_count > 0.1 * parameter.size:
        return False
    return (duplicate_unit_share(parameter, statistics) or 0.0) > _COPIED_SHARE


def _put_unmeasured(columns: Columns, parameter: Parameter, reason: str) -> None:
    unmeasured = Unmeasured(reason)
    for fact in _PER_TENSOR:
        columns[f"parameter.{fact}"][parameter.name] = unmeasured
    # what the graph makes itself is neither fresh nor trained: rules that ask were not run, and say why
    state = unmeasured if parameter.generated else "quantized" if parameter.quantized else "unknown"
    columns["parameter.state"][parameter.name] = state
    if parameter.quantized:
        columns["parameter.family"][parameter.name] = "quantized"


def _put_statistics(columns: Columns, parameter: Parameter, statistics: TensorStatistics) -> None:
    name = parameter.name
    facts: dict[str, FactValue] = {
        "parameter.non_finite_count": statistics.non_finite_count,
        "parameter.nan_count": statistics.nan_count,
    }
    if statistics.size:
        facts["parameter.zero_share"] = statistics.zero_count / statistics.size
        facts["parameter.denormal_share"] = statistics.denormal_count / statistics.size
        if statistics.size > statistics.non_finite_count:
            facts["parameter.mean"] = statistics.mean
            facts["parameter.std"] = statistics.std
            facts["parameter.absmax"] = statistics.absmax
            if statistics.std > 0.0:
                facts["parameter.extremity"] = statistics.absmax / statistics.std
    if statistics.first_non_finite is not None:
        index = np.unravel_index(statistics.first_non_finite, parameter.shape)
        facts["parameter.first_non_finite"] = "[" + ", ".join(str(int(i)) for i in index) + "]"
    if parameter.role in _MATRIX_ROLES:
        share = duplicate_unit_share(parameter, statistics)
        if share is not None:
            facts["parameter.duplicate_unit_share"] = share
    for fact, value in facts.items():
        columns[fact][name] = value


def _put_identical(graph: Graph, columns: Columns, measured: dict[str, MeasuredParameter]) -> None:
    identical = identical_parameters((m.parameter, m.statistics) for m in measured.values())

    modules = {name: graph.layers[measured[name].parameter.owners[0]].source.module for name in identical}

    def is_same_module(one: str, other: str) -> bool:
        """One module that runs several times may leave a copy of its weight for each call, computed by the graph: those are one weight. torch
        numbers the calls: the second one of "lstm" is "lstm_1"."""
        first, second = modules[one], modules[other]
        if first is None or second is None:
            return False
        if first == second:
            return True
        called = _CALL.sub("", first)
        return (
            one.endswith("_output_0")
            and other.endswith("_output_0")
            and called == _CALL.sub("", second)
            and called in modules.values()
        )

    for name, one in measured.items():
        if one.parameter.role in WEIGHT_ROLES:
            others = [other for other in identical.get(name, []) if not is_same_module(name, other)]
            columns["parameter.identical_count"][name] = len(others)
            if others:
                columns["parameter.identical_example"][name] = others[0]
