"""The charts of a probe, from the record alone: curves of the run and of its experiments, and what was measured over depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from statistics import median

from trainaudit.report import numbers
from trainaudit.report.curves import Curve, CurveChart, Level, curve_chart
from trainaudit.report.escaping import shortened, visible
from trainaudit.report.probe_view import Values
from trainaudit.report.signal_charts import BACKWARD, FORWARD, band_of, damaged_layers
from trainaudit.result import Audit, Finding, LayerRow, Run
from trainaudit.trace.trace import ParameterSeries, Series, Trace

_RATES = ("learning_rate", "learning_rates", "rate", "rates")
_UPDATES = 1e-3
_UPDATE_BAND = (1e-4, 1e-2)
"""A decade around the update of 1e-3 of a weight in each step that Karpathy looks for."""
_DEPTH = "layers, input to output"
_STYLES = ("first", "second", "third")


def run_charts(trace: Trace) -> list[CurveChart]:
    """The loss of the run, the learning-rate test, one batch trained on alone, and training without the inputs."""
    found = [_loss_chart(trace), _rate_chart(trace), _overfit_chart(trace), _baseline_chart(trace)]
    return [chart for chart in found if chart is not None]


def beside_charts(run: Run, audit: Audit, findings: Sequence[Finding]) -> list[CurveChart]:
    """Predicted beside measured, forward and backward; none where nothing was measured of a layer."""
    limits = {(rule.id, limit.name): limit.value for rule in run.rules for limit in rule.thresholds}
    damaged = damaged_layers(findings)
    found = [
        _beside(
            "Signal over depth, predicted and measured",
            "root mean square of the layers' outputs",
            audit.layers,
            [(row.measured_rms, row.predicted_rms) for row in audit.layers],
            band_of(limits, FORWARD),
            damaged,
        ),
        _beside(
            "Gradient over depth, predicted and measured",
            "gradient of the layers' weights relative to the last layer's",
            audit.layers,
            [(row.measured_gradient, row.predicted_gradient) for row in audit.layers],
            band_of(limits, BACKWARD),
            damaged,
        ),
    ]
    return [chart for chart in found if chart is not None]


def layer_charts(run: Run, trace: Trace) -> list[CurveChart]:
    """Silent and saturated units, and the size of the updates, over depth."""
    read = [series for series in trace.activations if series.silent_share is not None or series.saturated_share]
    shares = curve_chart(
        "Silent and saturated units over depth",
        "share of units that were never active, and of saturated values",
        _DEPTH,
        range(len(read)),
        [
            Curve("silent units", tuple(series.silent_share for series in read), "first", True),
            Curve("saturated values", tuple(_median(series.saturated_share) for series in read), "second", True),
        ],
        x_names=[series.tap.layer or series.tap.name for series in read],
        levels=_limits(run, ("layer.measured_silent_share", "layer.measured_saturated_share")),
        is_log=False,
    )
    updates = {series.name: _update(series) for series in trace.parameters if not series.name.endswith("bias")}
    moved = curve_chart(
        "Size of the updates over depth",
        "change of each weight in one step over its size, median over the second half of the steps",
        "weights, input to output",
        range(len(updates)),
        [Curve("update ratio", tuple(updates.values()), "first", True)],
        x_names=list(updates),
        levels=(Level("the size that the recipe looks for", _UPDATES),),
        band=_UPDATE_BAND,
        is_log=True,
    )
    return [chart for chart in (shares, moved) if chart is not None]


def _update(series: ParameterSeries) -> float | None:
    """‖Δw‖ / ‖w‖, median over the second half of the sampled steps."""
    half = len(series.update_norm) // 2
    pairs = zip(series.update_norm[half:], series.weight_norm[half:], strict=False)
    return _median(tuple(update / weight if update is not None and weight else None for update, weight in pairs))


def _median(values: Series) -> float | None:
    known = [value for value in values if value is not None and isfinite(value)]
    return median(known) if known else None


def _beside(
    title: str,
    quantity: str,
    rows: Sequence[LayerRow],
    pairs: Sequence[tuple[float | None, float | None]],
    band: tuple[float, float] | None,
    damaged: Sequence[str],
) -> CurveChart | None:
    weighted = [(row.name, *pair) for row, pair in zip(rows, pairs, strict=True) if row.parameters]
    kept = [item for item in weighted if any(map(_is_positive, item[1:]))]
    if sum(_is_positive(measured) for _, measured, _ in kept) < 2:
        return None
    names = [name for name, *_ in kept]
    places = [
        Level(f"damage starts at {shortened(name, 40)}", names.index(name), True) for name in damaged if name in names
    ]
    return curve_chart(
        title,
        quantity,
        _DEPTH,
        range(len(kept)),
        [
            Curve("measured at the first step", tuple(measured for _, measured, _ in kept), "first", True),
            Curve("predicted", tuple(predicted for *_, predicted in kept), "second"),
        ],
        x_names=names,
        places=places[:3],
        band=band,
        is_log=True,
    )


# --- the run and its experiments -----------------------------------------------------------------------------------------


def _loss_chart(trace: Trace) -> CurveChart | None:
    run = trace.run
    if run is None:
        return None
    held: list[float | None] = [None] * len(run.loss)
    for step, value in run.validation_loss:
        if 0 <= step < len(held):
            held[step] = value
    curves = [Curve("training loss", run.loss)]
    curves += [Curve("validation loss", tuple(held), "second", True)] if run.validation_loss else []
    found = run.first_non_finite
    where = "" if found is None else visible(found.layer or found.where)
    places = [] if found is None else [Level(f"not finite: {visible(found.kind)} of {where}", found.step, True)]
    return curve_chart(
        "Loss of the run", "loss", "step", range(len(run.loss)), curves, levels=_loss_levels(trace), places=places
    )


def _loss_levels(trace: Trace) -> list[Level]:
    """What the loss is held against: the start that is expected, and the floor on which one batch stalled."""
    start, overfit = (trace.experiments.get(name) for name in ("loss-at-init", "overfit-one-batch"))
    levels = []
    if start is not None:
        levels += _levels(
            start.values, (("expected at the start", "expected"), ("best constant output", "best_constant"))
        )
    if overfit is not None:
        levels += _floors(overfit.values)
    return levels


def _levels(values: Values, wanted: Sequence[tuple[str, str]]) -> list[Level]:
    pairs = [(name, values.get(key)) for name, key in wanted]
    return [
        Level(name, float(value))
        for name, value in pairs
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def _floors(values: Values) -> list[Level]:
    """All known floors of such a loss, the one that was met among them."""
    return _levels(
        values,
        (
            ("floor of a second softmax", "floor_double_softmax"),
            ("floor of a second sigmoid", "floor_sigmoid"),
            ("floor of a broadcast target", "floor_broadcast"),
        ),
    )


def _overfit_chart(trace: Trace) -> CurveChart | None:
    found = trace.experiments.get("overfit-one-batch")
    if found is None:
        return None
    levels = _floors(found.values) + _levels(found.values, (("best constant output", "constant_loss"),))
    words = {"user": "your optimizer", "own": "an optimizer of the probe's"}
    return _of_curves("Overfitting one batch", "loss on one batch", found.curves, words, levels)


def _baseline_chart(trace: Trace) -> CurveChart | None:
    found = trace.experiments.get("input-baseline")
    if found is None:
        return None
    curves = {
        words: _mean([values for name, values in found.curves.items() if name.startswith(word)])
        for words, word in (("real inputs", "real"), ("zeroed inputs", "zeroed"))
    }
    return _of_curves("Training with and without the inputs", "loss, mean over the seeds", curves, {}, [])


def _mean(runs: Sequence[Series]) -> Series:
    """Of the runs' numbers at each step, as far as all of them go."""
    columns = zip(*runs, strict=False)
    known = [[value for value in column if value is not None] for column in columns]
    return tuple(sum(column) / len(column) if column else None for column in known)


def _of_curves(
    title: str, quantity: str, series: Mapping[str, Series], words: dict[str, str], levels: Sequence[Level]
) -> CurveChart | None:
    chosen = list(series.items())[: len(_STYLES)]
    if not chosen:
        return None
    length = max(len(values) for _, values in chosen)
    curves = [
        Curve(words.get(name, visible(name.replace("_", " "))), values, style)
        for (name, values), style in zip(chosen, _STYLES, strict=False)
    ]
    return curve_chart(title, quantity, "step", range(length), curves, levels=levels)


def _rate_chart(trace: Trace) -> CurveChart | None:
    found = trace.experiments.get("learning-rate-range")
    if found is None:
        return None
    name = next((name for name in _RATES if name in found.curves), "")
    rates = [rate for rate in found.curves.get(name, ()) if rate is not None and isfinite(rate) and rate > 0]
    others = [(word, values) for word, values in found.curves.items() if word != name]
    if len(rates) < 2 or not others:
        return None
    start = found.values.get("start_loss")
    top = 2 * abs(start) if isinstance(start, int | float) and start else None
    curves = [
        Curve(visible(word.replace("_", " ")), tuple(values[: len(rates)]), style)
        for (word, values), style in zip(others, _STYLES, strict=False)
    ]
    places = _levels(
        found.values, (("suggested", "suggested"), ("in use", "current"), ("stable up to", "highest_stable"))
    )
    places = [Level(f"{place.name}: {numbers.number(place.at)}", place.at) for place in places]
    return curve_chart(
        "Learning-rate range test",
        "loss",
        "learning rate",
        rates,
        curves,
        places=places,
        is_log_x=True,
        is_log=False,
        top=top,
    )


def _limits(run: Run, facts: Sequence[str]) -> list[Level]:
    """Thresholds of the rules that judge these facts."""
    return [
        Level(f"limit of {visible(rule.id)}", float(limit.value))
        for rule in run.rules
        if any(fact in rule.needs for fact in facts)
        for limit in rule.thresholds[:1]
        if limit.unit == "share" and isinstance(limit.value, int | float)
    ]


def _is_positive(value: float | None) -> bool:
    return value is not None and isfinite(value) and value > 0
