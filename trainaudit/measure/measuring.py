"""Graph → facts: calls every static measurement once and joins their columns into one table.

May import `ir`, `measure.catalog`, `measure.facts`, `measure.static` and `measure.signal`. A measurement that breaks down does not end the audit: its facts
become `Unmeasured` with the error's name, and the rules that need them are reported as not run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trainaudit.ir.graph import Graph
from trainaudit.measure.catalog import CATALOG, WEIGHTS
from trainaudit.measure.facts import NO_GRAPH, Columns, FactTable, Subject, Unmeasured
from trainaudit.measure.intervals.singularities import FACTS, measure_singularities
from trainaudit.measure.signal.signal_facts import measure_signal, not_predicted
from trainaudit.measure.static.index import Index, build_index
from trainaudit.measure.static.places import loss_facts
from trainaudit.measure.static.structure import loss_in_graph, measure_structure
from trainaudit.measure.static.weights import measure_weights


def measure(
    graph: Graph,
    *,
    loss: str | None,
    expects: Mapping[str, str],
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> FactTable:
    """All static facts of a graph. `loss` is the declared one, `expects` says what each known loss wants of the model's output, `ranges`
    between which numbers inputs lie, where that is declared.

    A loss that is part of the graph counts where none is declared.
    """
    if not graph.is_connected:
        from trainaudit.measure.static.unconnected import measure_unconnected

        subjects, columns = measure_unconnected(graph)
    else:
        index = build_index(graph)
        subjects, columns = measure_structure(graph, index)
    loss = loss or loss_in_graph(graph)
    no_loss = _NO_LOSS if graph.is_connected else NO_GRAPH
    columns.update(loss_facts(loss, expects.get(loss or ""), no_loss))
    if graph.is_connected:
        columns.update(_guarded(lambda: measure_weights(graph, columns), WEIGHTS, subjects))
        columns.update(_ranges(graph, columns, ranges or {}))
        segments, predicted = _signal(graph, index, columns)
        subjects |= segments
        columns.update(predicted)
    return FactTable(subjects=subjects, columns=columns)


BROKE_DOWN = "the measurement broke down"
"""How the reason starts for facts that were lost to a fault of the tool's own."""

_NO_LOSS = Unmeasured("the loss is not known: declare it with --loss NAME or in the settings")


def _signal(graph: Graph, index: Index, columns: Columns) -> tuple[Mapping[str, Mapping[str, Subject]], Columns]:
    try:
        return measure_signal(graph, index, columns)
    except Exception as error:
        return not_predicted(columns, _broken(error))


def _ranges(graph: Graph, columns: Columns, declared: Mapping[str, tuple[float, float]]) -> Columns:
    try:
        return measure_singularities(graph, columns, declared)
    except Exception as error:
        return {fact: dict.fromkeys(columns["layer.op"], _broken(error)) for fact in FACTS}


def _broken(error: Exception) -> Unmeasured:
    return Unmeasured(f"{BROKE_DOWN} ({type(error).__name__}: {error})")


def _guarded(measurement: Callable[[], Columns], source: str, subjects: Mapping[str, Mapping[str, Subject]]) -> Columns:
    try:
        return measurement()
    except Exception as error:
        broken = _broken(error)
        return {
            spec.name: dict.fromkeys(subjects.get(spec.kind, {}), broken) for spec in CATALOG if spec.source == source
        }
