"""Facts of parameters and of the layers that own them: gradients and updates. May import `measure.facts`, `trace` and siblings.

Gradients are compared as the rms of a weight's gradient, as signal propagation predicts it, with those of the last trainable layer and of the next one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from itertools import pairwise

from trainaudit.frozen import frozen
from trainaudit.measure.dynamic.layers import column
from trainaudit.measure.dynamic.run import too_short
from trainaudit.measure.dynamic.series import divided, finite, median, ratios, second_half
from trainaudit.measure.facts import Columns, FactTable, Unmeasured
from trainaudit.trace.trace import ParameterSeries, Series, Trace

_BESIDE = frozenset({"gate", "modulation", "auxiliary", "embedding", "attention-query", "attention-key"})
"""Roles of layers whose gradients do not tell how far the gradient reaches, as in signal propagation."""
_WEIGHTS = ("weight", "input_weight")


@frozen
class Weights:
    """Layer → the series of its weight. `chain` are those by which the gradient's reach is told, from the first to the last."""

    of: Mapping[str, ParameterSeries]
    chain: tuple[str, ...]
    too_short: Unmeasured | None = None
    """Why nothing is said of what the weights come to, where the run was cut too soon for that."""


def find_weights(trace: Trace, table: FactTable) -> Weights:
    """The weights of the graph that the run trained."""
    roles, levels = table.columns.get("parameter.role", {}), table.columns.get("layer.depth", {})
    uses = table.columns.get("layer.role", {})
    series = {one.name: one for one in trace.parameters}
    of: dict[str, ParameterSeries] = {}
    order: list[tuple[int, int, str]] = []
    """Depth, place in the graph, layer."""
    for subject in table.subjects.get("parameter", {}).values():
        one = series.get(subject.id)
        if one is None or subject.layer is None or roles.get(subject.id) not in _WEIGHTS or not one.trainable:
            continue
        if subject.layer in of:
            continue
        of[subject.layer] = one
        level = levels.get(subject.layer)
        if isinstance(level, int) and uses.get(subject.layer) not in _BESIDE:
            order.append((level, subject.position, subject.layer))
    return Weights(of, tuple(name for *_, name in sorted(order)), too_short(trace))


def measure_gradients(weights: Weights) -> Columns:
    """Facts of layers, and those of the run that are about all of them."""
    rms = {name: _rms(weights.of[name]) for name in weights.chain}
    relative = column({name: median(ratios(one.gradient_norm, one.weight_norm)) for name, one in weights.of.items()})
    columns = _reach(rms) | _speeds(weights)
    if weights.too_short is not None:
        columns = {name: dict.fromkeys(column, weights.too_short) for name, column in columns.items()}
    columns |= _first_updates(weights)
    columns["layer.gradient_noise"] = dict(
        column({name: median(one.gradient_noise) for name, one in weights.of.items()})
    )
    if relative:
        columns["training.relative_gradient"] = {"training": statistics.median(relative.values())}
    return columns


def _rms(one: ParameterSeries) -> Series:
    return tuple(None if norm is None else norm / one.size**0.5 for norm in one.gradient_norm)


def _updates(one: ParameterSeries) -> list[float]:
    return ratios(one.update_norm, one.weight_norm)


def _reach(rms: dict[str, Series]) -> Columns:
    """Of each layer against the last one with a gradient that is not 0 at most steps; and end to end, at the layer where the gradient changes most on
    its way back. Where it is exactly 0 at the start, behind a layer that starts at zero, the first step that has one counts; that
    layer is small then, so that this tells nothing of the others."""
    last = next((name for name in reversed(rms) if (median(rms[name]) or 0.0) > 0.0), None)
    if last is None or len(rms) < 2:
        return {}
    initial = column({name: divided(series[0], rms[last][0]) for name, series in rms.items() if series and rms[last]})
    whole = column({name: median(ratios(series, rms[last])) for name, series in rms.items()})
    first = next(iter(rms))
    steps = column({name: median(ratios(rms[name], rms[after])) for name, after in pairwise(rms)})
    columns: Columns = {"layer.initial_gradient_ratio": dict(initial), "layer.neighbor_gradient_ratio": dict(steps)}
    begun = {first: next((ratio for ratio in ratios(rms[first], rms[last]) if ratio > 0.0), 0.0)}
    for fact, found in (("end_to_end_ratio", whole), ("initial_end_to_end_ratio", begun)):
        if first in found:
            columns[f"training.{fact}"] = {"training": found[first]}
            if found is whole or found[first] == initial.get(first):
                start = _start(steps, found[first]) or first
                columns[f"layer.measured_{fact}"] = {start: found[first]}
    return columns


def _start(steps: Mapping[str, float], ratio: float) -> str:
    """The earliest layer whose own factor is at least half of the largest, in logarithms: as for the predicted gradient. A factor of 0 is the
    largest of all."""
    sign = 1.0 if ratio < 1.0 else -1.0
    sizes = {name: -sign * math.log(step) if step > 0.0 else math.inf for name, step in steps.items()}
    most = max(sizes.values(), default=0.0)
    return next((name for name, size in sizes.items() if most > 0.0 and size >= most / 2), "")


def _speeds(weights: Weights) -> Columns:
    """Layers that do not move at all are frozen, and no slow ones."""
    updates = column({name: median(second_half(_updates(one))) for name, one in weights.of.items()})
    moving = {name: ratio for name, ratio in updates.items() if ratio > 0.0}
    columns: Columns = {"layer.update_ratio": dict(updates)}
    if not moving:
        return columns
    columns["training.update_ratio"] = {"training": statistics.median(moving.values())}
    if len(moving) > 1:
        slow, fast = min(moving, key=lambda name: moving[name]), max(moving, key=lambda name: moving[name])
        columns["training.update_speed_spread"] = {"training": moving[fast] / moving[slow]}
        columns["training.slowest_layer"] = {"training": slow}
        columns["training.fastest_layer"] = {"training": fast}
    return columns


def _first_updates(weights: Weights) -> Columns:
    largest = [max(found) for one in weights.of.values() if (found := finite(_updates(one)[:3]))]
    return {"training.first_update_ratio": {"training": statistics.median(largest)}} if largest else {}


def measure_parameters(trace: Trace, table: FactTable) -> Columns:
    """Facts of the parameters that both the graph and the run know."""
    known = table.subjects.get("parameter", {})
    series = {one.name: one for one in trace.parameters if one.name in known}
    cut = too_short(trace)
    return {
        "parameter.requires_gradient": {name: one.trainable for name, one in series.items()},
        "parameter.has_gradient": {name: one.has_gradient for name, one in series.items()},
        "parameter.is_in_optimizer": {name: one.in_optimizer for name, one in series.items()},
        "parameter.is_updated": {name: one.is_changed or cut or False for name, one in series.items()},
        "parameter.measured_gradient_rms": dict(column({name: median(_rms(one)) for name, one in series.items()})),
        "parameter.untouched_row_share": dict(column({name: one.never_touched_rows for name, one in series.items()})),
    }
