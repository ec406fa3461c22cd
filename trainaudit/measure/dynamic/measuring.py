"""Trace → facts: calls every measurement over a trace once and joins its columns to those of graph and weights.

May import `measure.catalog`, `measure.facts`, `trace` and siblings. A measurement that breaks down does not end the audit: its facts become
`Unmeasured` with the error's name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from trainaudit.measure.catalog import CATALOG, DATA, FORWARD, PROBED, SINGLE_KINDS
from trainaudit.measure.catalog_data import DATA_FACTS
from trainaudit.measure.dynamic.data_facts import measure_data
from trainaudit.measure.dynamic.experiments import measure_experiments
from trainaudit.measure.dynamic.gradients import find_weights, measure_gradients, measure_parameters
from trainaudit.measure.dynamic.layers import measure_activations
from trainaudit.measure.dynamic.predictions import measure_rectified, measure_segments
from trainaudit.measure.dynamic.run import measure_run
from trainaudit.measure.facts import Columns, FactTable, Subject, Unmeasured
from trainaudit.trace.trace import Trace

_OF_DATA = frozenset(spec.name for spec in DATA_FACTS)
_SYNTHETIC = Unmeasured("the data is synthetic: give your own with --data")


def measure_trace(trace: Trace, table: FactTable) -> FactTable:
    """The table of a graph with what a probe of it saw: a column for every fact of the evidence that was gathered, empty where it applies to no
    subject."""
    is_training = trace.settings.evidence != FORWARD
    sources = PROBED if is_training else {FORWARD, DATA}
    columns: Columns = {spec.name: {} for spec in CATALOG if spec.source in sources}
    if trace.data is None and trace.settings.data == "real":
        for spec in DATA_FACTS:
            del columns[spec.name]
    measurements: list[Callable[[], Columns]] = [
        lambda: measure_run(trace),
        lambda: measure_activations(
            trace, _weighted(table), _heads(table), table.columns.get("layer.predicted_saturated_share", {})
        ),
        lambda: measure_rectified(trace, table),
        lambda: measure_segments(table, columns),
        lambda: measure_data(trace),
    ]
    if is_training:
        measurements += [
            lambda: measure_experiments(trace),
            lambda: measure_parameters(trace, table),
            lambda: measure_gradients(find_weights(trace, table)),
        ]
    _join(columns, measurements, table)
    _put_decay_share(columns)
    if is_training and (trace.run is None or not trace.run.loss):
        of_run = {name: column for name, column in columns.items() if name not in _OF_DATA}
        columns |= _left_open(of_run, table, Unmeasured(f"nothing was trained ({trace.stopped})"))
    _leave_out_synthetic(columns, trace)
    singles = {kind: {kind: Subject(kind, kind, None, 0)} for kind in SINGLE_KINDS if kind != "model"}
    return replace(table, subjects={**table.subjects, **singles}, columns={**table.columns, **columns})


def _weighted(table: FactTable) -> list[str]:
    layers = table.subjects.get("layer", {})
    return sorted(table.columns.get("layer.width", {}), key=lambda name: layers[name].position)


def _heads(table: FactTable) -> dict[str, int]:
    """Output head → values that one unit of it reads, 0 where that is not known."""
    roles, fans = table.columns.get("layer.role", {}), table.columns.get("layer.fan_in", {})
    heads = (name for name, role in roles.items() if role == "output-head")
    return {name: fan if isinstance(fan := fans.get(name), int) else 0 for name in heads}


def _join(columns: Columns, measurements: Sequence[Callable[[], Columns]], table: FactTable) -> None:
    """Those of the facts in `columns` that the measurements give. What one that breaks down does not give stays open: every fact that no other gave."""
    broken: Unmeasured | None = None
    for measurement in measurements:
        try:
            columns |= {name: column for name, column in measurement().items() if name in columns}
        except Exception as error:
            broken = Unmeasured(f"the measurement broke down ({type(error).__name__}: {error})")
    if broken is not None:
        columns |= _left_open(columns, table, broken)


def _left_open(columns: Columns, table: FactTable, reason: Unmeasured) -> Columns:
    """Every fact that nothing gave, for all subjects of its kind."""
    kinds = {name: name.split(".", 1)[0] for name, column in columns.items() if not column}
    return {
        name: dict.fromkeys((kind,) if kind in SINGLE_KINDS else table.subjects.get(kind, {}), reason)
        for name, kind in kinds.items()
    }


def _put_decay_share(columns: Columns) -> None:
    """Of the run and of its updates together."""
    rate, decay, update = (
        columns.get(f"training.{fact}", {}).get("training")
        for fact in ("learning_rate", "weight_decay", "update_ratio")
    )
    if isinstance(rate, float) and isinstance(decay, float) and isinstance(update, float) and update > 0.0:
        columns["training.decay_share"] = {"training": rate * decay / update}


def _leave_out_synthetic(columns: Columns, trace: Trace) -> None:
    """Rules on data say nothing of data that was made up."""
    if trace.settings.data == "real":
        return
    for spec in CATALOG:
        if spec.source == DATA and spec.name in columns:
            subjects = ("data",) if spec in DATA_FACTS else columns[spec.name]
            columns[spec.name] = dict.fromkeys(subjects, _SYNTHETIC)
