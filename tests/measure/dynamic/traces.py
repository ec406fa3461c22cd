"""Traces and tables made to measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trainaudit.measure.facts import FactTable, FactValue, Subject
from trainaudit.trace.experiments import Experiment
from trainaudit.trace.trace import (
    ActivationSeries,
    ParameterSeries,
    ProbeSettings,
    Tap,
    Trace,
    TrainingRun,
)


def table(layers: int = 3, **columns: Mapping[str, FactValue]) -> FactTable:
    """Dense layers l0, l1, … in a row, each with a weight "l0.weight"; more columns are given as layer__depth={"l0": 1}."""
    names = [f"l{place}" for place in range(layers)]
    subjects = {
        "model": {"model": Subject("model", "model", None, 0)},
        "layer": {name: Subject("layer", name, name, place) for place, name in enumerate(names)},
        "parameter": {
            f"{name}.weight": Subject("parameter", f"{name}.weight", name, place) for place, name in enumerate(names)
        },
    }
    facts: dict[str, Mapping[str, FactValue]] = {
        "layer.depth": {name: place + 1 for place, name in enumerate(names)},
        "layer.role": dict.fromkeys(names, "hidden"),
        "layer.width": dict.fromkeys(names, 4),
        "parameter.role": {f"{name}.weight": "weight" for name in names},
    }
    facts |= {name.replace("__", ".", 1): column for name, column in columns.items()}
    return FactTable(subjects, facts)


def weight(
    name: str, gradients: Sequence[float], *, size: int = 16, norm: float = 4.0, update: float = 0.004
) -> ParameterSeries:
    """A weight whose gradient has these norms at the sampled steps."""
    steps = len(gradients)
    return ParameterSeries(
        f"{name}.weight",
        size,
        weight_norm=(norm,) * steps,
        gradient_norm=tuple(gradients),
        update_norm=(update,) * steps,
        gradient_underflow_share=(0.0,) * steps,
    )


def activation(layer: str, op: str = "linear", **series: Any) -> ActivationSeries:
    """The output of a layer; series and masks by the names of `ActivationSeries`."""
    return ActivationSeries(Tap(layer, layer, layer, op), **({"unit_count": 4, "value_count": 4} | series))


def trace(
    loss: Sequence[float | None] = (2.0, 2.0, 2.0, 1.5, 1.5, 1.5, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5),
    *,
    activations: Sequence[ActivationSeries] = (),
    parameters: Sequence[ParameterSeries] = (),
    experiments: Mapping[str, Experiment] | None = None,
    settings: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
) -> Trace:
    """A run with these losses, one sampled step each; `settings` and `run` replace fields of those records."""
    made = ProbeSettings("training", "real", loss="cross-entropy", optimizer="Adam", learning_rate=0.01, batch_size=8)
    losses = tuple(loss)
    training = TrainingRun(losses, learning_rate=(0.01,) * len(losses), gradient_norm=(1.0,) * len(losses))
    return Trace(
        replace(made, **(settings or {})),
        tuple(range(len(losses))),
        replace(training, **(run or {})),
        tuple(activations),
        tuple(parameters),
        experiments or {},
    )


def forward_trace(*activations: ActivationSeries) -> Trace:
    """What onnxruntime alone gives."""
    return Trace(ProbeSettings("forward", "random"), (0,), None, activations)
