"""The charts of a probe, from the record alone: curves of the run and of its experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from trainaudit.report import numbers
from trainaudit.report.curves import Curve, Level, curve_chart
from trainaudit.report.drawing import Drawing
from trainaudit.report.escaping import visible
from trainaudit.report.probe_view import Values
from trainaudit.trace.trace import Series, Trace

_RATES = ("learning_rate", "learning_rates", "rate", "rates")
_STYLES = ("first", "second", "third")


def run_charts(trace: Trace) -> dict[str, Drawing]:
    """By name: the loss of the run, the learning-rate test, one batch trained on alone, and training without the inputs."""
    found = {
        "run": _loss_chart(trace),
        "learning-rate-range": _rate_chart(trace),
        "overfit-one-batch": _overfit_chart(trace),
        "input-baseline": _baseline_chart(trace),
    }
    return {name: chart for name, chart in found.items() if chart is not None}


# --- the run and its experiments -----------------------------------------------------------------------------------------


def _loss_chart(trace: Trace) -> Drawing | None:
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
    places = [] if found is None else [Level(f"not finite: {visible(found.kind)} of {where}", found.step, "bad")]
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


def _overfit_chart(trace: Trace) -> Drawing | None:
    found = trace.experiments.get("overfit-one-batch")
    if found is None:
        return None
    levels = _floors(found.values) + _levels(found.values, (("best constant output", "constant_loss"),))
    words = {"user": "your optimizer", "own": "an optimizer of the probe's"}
    return _of_curves("Overfitting one batch", "loss on one batch", found.curves, words, levels)


def _baseline_chart(trace: Trace) -> Drawing | None:
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
) -> Drawing | None:
    chosen = list(series.items())[: len(_STYLES)]
    if not chosen:
        return None
    length = max(len(values) for _, values in chosen)
    curves = [
        Curve(words.get(name, visible(name.replace("_", " "))), values, style)
        for (name, values), style in zip(chosen, _STYLES, strict=False)
    ]
    return curve_chart(title, quantity, "step", range(length), curves, levels=levels)


def _rate_chart(trace: Trace) -> Drawing | None:
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
    places = [
        Level(f"{place.name} {numbers.number(place.at)}", place.at, "main" if place.name == "suggested" else "")
        for place in places
    ]
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
