"""Facts of a layer that are read off its activation, in a forward pass or in training. May import `measure.facts`, `trace` and siblings."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from trainaudit.measure.dynamic.series import divided, earliest, end, first, largest, median, start
from trainaudit.measure.facts import Columns
from trainaudit.trace.trace import ActivationSeries, Number, Trace

_BOUNDED_RANK = 4.0
"""Dimensions below which a layer's bound tells nothing of a collapse: a head with two outputs has a rank of two at most."""

Activations = Mapping[str, ActivationSeries]


def measure_activations(
    trace: Trace, weighted: Collection[str], heads: Mapping[str, int], hidden: Collection[str]
) -> Columns:
    """`weighted` are the layers with weights, in the order of the graph: backward ratios are against the last of them. `heads` are those that give an
    output, with the number of values that they read (0: not known), `hidden` the saturating functions inside of the model, which are neither gates nor outputs.

    Of a layer that ran several times (shared by two branches) the first call counts.
    """
    layers: dict[str, ActivationSeries] = {}
    for series in trace.activations:
        if series.tap.layer:
            layers.setdefault(series.tap.layer, series)
    columns = _moments(layers) | _silence(layers) | _ranks(layers, heads)
    saturated = {name: median(series.saturated_share) for name, series in layers.items() if name in hidden}
    columns["layer.measured_saturated_share"] = dict(column(saturated))
    if trace.run is not None:
        columns |= _backward(layers, weighted)
    return columns


def column(values: Mapping[str, Number]) -> dict[str, float]:
    """What was had."""
    return {subject: value for subject, value in values.items() if value is not None}


def _moments(layers: Activations) -> Columns:
    facts = {
        "measured_std": {name: first(series.std) for name, series in layers.items()},
        "measured_rms": {name: first(series.rms) for name, series in layers.items()},
        "measured_absmax": {name: largest(series.absmax) for name, series in layers.items()},
        "final_std": {name: end(series.std) for name, series in layers.items()},
        "std_growth": {name: divided(end(series.std), start(series.std)) for name, series in layers.items()},
    }
    return {f"layer.{fact}": dict(column(values)) for fact, values in facts.items()}


def _silence(layers: Activations) -> Columns:
    """Of rectifiers, whose units pass no gradient where they are silent."""
    rectifiers = {name: series for name, series in layers.items() if series.silent_share is not None}
    facts: dict[str, Mapping[str, Number]] = {
        "measured_silent_share": {name: series.silent_share for name, series in rectifiers.items()},
        "seen_sample_count": {name: series.samples_seen for name, series in rectifiers.items()},
        "first_silent_share": {name: series.silent_share_first for name, series in rectifiers.items()},
        "last_silent_share": {name: series.silent_share_last for name, series in rectifiers.items()},
        "silent_share_growth": {
            name: series.silent_share_last - series.silent_share_first
            for name, series in rectifiers.items()
            if series.silent_share_last is not None and series.silent_share_first is not None
        },
    }
    return {f"layer.{fact}": dict(column(values)) for fact, values in facts.items()}


def _ranks(layers: Activations, heads: Mapping[str, int]) -> Columns:
    """Of what an output head reads, the layer before it: its effective rank against the largest that could be left, that of a layer before it or
    what width and samples allow. Inside of a residual branch a low rank is no loss, nor in one of several branches that a head reads joined."""
    facts: dict[str, dict[str, float]] = {"effective_rank": {}, "earlier_rank": {}, "measured_rank_ratio": {}}
    most, last = 0.0, None
    for name, series in layers.items():
        if name in heads and last is not None and not 0 < layers[last[0]].value_count < heads[name]:
            before, rank, possible, earlier = last
            facts["effective_rank"][before], facts["earlier_rank"][before] = rank, earlier
            facts["measured_rank_ratio"][before] = rank / possible
        rank_here, bound = earliest(series.effective_rank), series.effective_rank_bound
        if rank_here is not None and bound is not None:
            possible_here = min(bound, most)
            last = (name, rank_here, possible_here, most) if possible_here >= _BOUNDED_RANK else None
            most = max(most, rank_here)
    return {f"layer.{fact}": dict(values) for fact, values in facts.items()}


def _backward(layers: Activations, weighted: Collection[str]) -> Columns:
    """Norms of ∂loss/∂y of one example at the start, over that of the last weighted layer that has one."""
    norms: dict[str, float] = {}
    for name in weighted:
        series = layers.get(name)
        rms = None if series is None else first(series.gradient_rms)
        if series is not None and rms is not None and series.value_count:
            norms[name] = rms * series.value_count**0.5
    last = next((norm for norm in reversed(norms.values()) if norm > 0), None)
    return {"layer.measured_backward_ratio": dict(column({name: divided(norm, last) for name, norm in norms.items()}))}
