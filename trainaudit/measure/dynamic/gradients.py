"""Facts of parameters and of the layers that own them: gradients and updates. May import `measure.facts`, `trace` and siblings.

Gradients are compared as the rms of a weight's gradient, as signal propagation predicts it, with those of the last trainable layer and of the next one.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from itertools import pairwise

from trainaudit.frozen import frozen
from trainaudit.measure.dynamic.layers import column
from trainaudit.measure.dynamic.series import divided, finite, median, ratios, second_half
from trainaudit.measure.facts import Columns, FactTable
from trainaudit.trace.trace import Number, ParameterSeries, Series, Trace

_BESIDE = frozenset({"gate", "modulation", "auxiliary", "embedding", "attention-query", "attention-key"})
"""Roles of layers whose gradients do not tell how far the gradient reaches, as in signal propagation."""
_WEIGHTS = ("weight", "input_weight")


@frozen
class Weights:
    """Layer → the series of its weight. `chain` are those by which the gradient's reach is told, from the first to the last."""

    of: Mapping[str, ParameterSeries]
    chain: tuple[str, ...]


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
    return Weights(of, tuple(name for *_, name in sorted(order)))


def measure_gradients(weights: Weights) -> Columns:
    """Facts of layers, and those of the run that are about all of them."""
    rms = {name: _rms(weights.of[name]) for name in weights.chain}
    relative = {name: ratios(one.gradient_norm, one.weight_norm) for name, one in weights.of.items()}
    updates = {name: median(second_half(_updates(one))) for name, one in weights.of.items()}
    columns: Columns = {
        "layer.relative_gradient": dict(column({name: median(found) for name, found in relative.items()})),
        "layer.gradient_noise": dict(column({name: median(one.gradient_noise) for name, one in weights.of.items()})),
        "layer.update_ratio": dict(column(updates)),
    }
    relatives = column({name: median(found) for name, found in relative.items()})
    if relatives:
        columns["training.relative_gradient"] = {"training": statistics.median(relatives.values())}
    columns |= _against_last(rms, columns)
    columns |= _end_to_end(rms, columns)
    return columns | _speeds(column(updates)) | _first_updates(weights)


def _rms(one: ParameterSeries) -> Series:
    return tuple(None if norm is None else norm / one.size**0.5 for norm in one.gradient_norm)


def _updates(one: ParameterSeries) -> list[float]:
    return ratios(one.update_norm, one.weight_norm)


def _against_last(rms: dict[str, Series], columns: Columns) -> Columns:
    """The last layer is the last with a gradient that is not 0 at most steps."""
    last = next((name for name in reversed(rms) if (median(rms[name]) or 0.0) > 0.0), None)
    initial: dict[str, Number] = {}
    whole: dict[str, Number] = {}
    relative: dict[str, Number] = {}
    if last is not None:
        by_norm = columns["layer.relative_gradient"]
        for name, series in rms.items():
            initial[name] = divided(series[0], rms[last][0]) if series and rms[last] else None
            whole[name] = median(ratios(series, rms[last]))
            one, other = by_norm.get(name), by_norm.get(last)
            if isinstance(one, float) and isinstance(other, float):
                relative[name] = divided(one, other)
    return {
        "layer.initial_gradient_ratio": dict(column(initial)),
        "layer.measured_gradient_ratio": dict(column(whole)),
        "layer.relative_gradient_ratio": dict(column(relative)),
    }


def _end_to_end(rms: dict[str, Series], columns: Columns) -> Columns:
    """How far the gradient reaches: the first layer's against the last's. It stands at the layer where it changes most on its way back, and at the run."""
    if len(rms) < 2:
        return {}
    found: Columns = {}
    first = next(iter(rms))
    steps = column({name: median(ratios(rms[name], rms[after])) for name, after in pairwise(rms)})
    for fact, of_all in (
        ("end_to_end_ratio", "measured_gradient_ratio"),
        ("initial_end_to_end_ratio", "initial_gradient_ratio"),
    ):
        ratio = columns[f"layer.{of_all}"].get(first)
        if not isinstance(ratio, float):
            continue
        found[f"training.{fact}"] = {"training": ratio}
        pick = min if ratio < 1.0 else max
        start = pick(steps, key=lambda name: steps[name], default=first)
        found[f"layer.measured_{fact}"] = {start: ratio}
        found["layer.neighbor_gradient_ratio"] = dict(steps)
    return found


def _speeds(updates: Mapping[str, float]) -> Columns:
    """Layers that do not move at all are frozen, and no slow ones."""
    moving = {name: ratio for name, ratio in updates.items() if ratio > 0.0}
    if not moving:
        return {}
    middle = statistics.median(moving.values())
    columns: Columns = {
        "training.update_ratio": {"training": middle},
        "layer.update_speed_ratio": {name: ratio / middle for name, ratio in moving.items()},
    }
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
    return {
        "parameter.requires_gradient": {name: one.trainable for name, one in series.items()},
        "parameter.has_gradient": {name: one.has_gradient for name, one in series.items()},
        "parameter.is_in_optimizer": {name: one.in_optimizer for name, one in series.items()},
        "parameter.is_updated": {name: one.is_changed for name, one in series.items()},
        "parameter.measured_gradient_rms": dict(column({name: median(_rms(one)) for name, one in series.items()})),
        "parameter.relative_gradient": dict(
            column({name: median(ratios(one.gradient_norm, one.weight_norm)) for name, one in series.items()})
        ),
        "parameter.update_ratio": dict(
            column({name: median(second_half(_updates(one))) for name, one in series.items()})
        ),
        "parameter.untouched_row_share": dict(column({name: one.never_touched_rows for name, one in series.items()})),
    }
