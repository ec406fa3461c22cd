"""The layer table of the report: one row for each layer that computes something of note. May import `ir`, `result`, `measure.facts`."""

from __future__ import annotations

from collections.abc import Mapping

from trainaudit.ir.graph import Graph, Shape
from trainaudit.ir.ops import ACTIVATIONS, DROPOUTS, NORMALIZATIONS, WEIGHTED, Op
from trainaudit.measure.facts import FactValue
from trainaudit.result import LayerRow

_SHOWN = (
    WEIGHTED
    | NORMALIZATIONS
    | ACTIVATIONS
    | DROPOUTS
    | {Op.ATTENTION, Op.MATMUL, Op.EINSUM, Op.LOSS, Op.OTHER, Op.ESTIMATOR}
)


_MEASURED = (
    "layer.measured_std", "layer.measured_rms", "layer.initial_gradient_ratio", "layer.measured_backward_ratio",
    "layer.measured_silent_share", "layer.measured_saturated_share", "layer.update_ratio",
)  # fmt: skip
"""Of the probe: four of its first step, beside `layer.predicted_…`, and three of the whole run."""

REPORT_FACTS = frozenset(
    {
        "model.name", "model.form", "model.weights_state", "model.layer_count", "model.parameter_count", "model.depth",
        "model.recognition_coverage", "model.dtype", "layer.name", "layer.op", "layer.role", "layer.depth", "layer.gain",
        "layer.wanted_gain", "layer.weight_scheme", "parameter.std", "model.signal_coverage", "layer.predicted_std",
        "layer.predicted_rms", "layer.predicted_gradient_ratio", "layer.predicted_backward_ratio",
        *_MEASURED, "training.evidence",
    }
)  # fmt: skip
"""Facts that reports show even where no rule reads them."""


def layer_rows(graph: Graph, columns: Mapping[str, Mapping[str, FactValue]]) -> tuple[LayerRow, ...]:
    """Rows in topological order: layers with parameters, normalizations, activation functions, products, losses and what was not
    recognized. Numbers stand where `columns` holds them."""
    depth, role = columns.get("layer.depth", {}), columns.get("layer.role", {})
    scheme, std = columns.get("layer.weight_scheme", {}), columns.get("parameter.std", {})
    gain, wanted = columns.get("layer.gain", {}), columns.get("layer.wanted_gain", {})
    predicted = [
        columns.get(f"layer.predicted_{what}", {}) for what in ("std", "rms", "gradient_ratio", "backward_ratio")
    ]
    measured = [columns.get(fact, {}) for fact in _MEASURED]
    inputs, joined = _edges(graph)
    rows = []
    for layer in graph.layers:
        if layer.index not in inputs:
            continue
        name = layer.name
        weight = (
            layer.parameters.get("weight") or layer.parameters.get("input_weight") or layer.parameters.get("embedding")
        )
        output = graph.values.get(layer.outputs[0]) if layer.outputs else None
        level = depth.get(name)
        rows.append(
            LayerRow(
                name=name,
                op=layer.op.value,
                role=_word(role.get(name)),
                depth=level if isinstance(level, int) else 0,
                output_shape=shape_text(None if output is None else output.shape),
                parameters=sum(graph.parameters[p].size for p in set(layer.parameters.values())),
                initializer=_word(scheme.get(name)),
                weight_std=_number(std.get(weight)) if weight is not None else None,
                gain=_number(gain.get(name)),
                wanted_gain=_number(wanted.get(name)),
                predicted_std=_number(predicted[0].get(name)),
                predicted_rms=_number(predicted[1].get(name)),
                predicted_gradient=_number(predicted[2].get(name)),
                predicted_backward=_number(predicted[3].get(name)),
                measured_std=_number(measured[0].get(name)),
                measured_rms=_number(measured[1].get(name)),
                measured_gradient=_number(measured[2].get(name)),
                measured_backward=_number(measured[3].get(name)),
                silent_share=_number(measured[4].get(name)),
                saturated_share=_number(measured[5].get(name)),
                update_ratio=_number(measured[6].get(name)),
                file=layer.source.file,
                line=layer.source.line,
                inputs=tuple(graph.layers[i].name for i in inputs[layer.index]),
                joined=tuple(graph.layers[i].name for i in joined.get(layer.index, ())),
            )
        )
    return tuple(rows)


def _edges(graph: Graph) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Of the layers that have a row: the rows that each reads, and the earlier rows whose outputs meet its own behind it. A layer without a row stands
    for the latest row that it comes from, so that a chain of residual sums gives one edge for each sum. Shapes carry no signal."""
    inputs: dict[int, list[int]] = {}
    joined: dict[int, list[int]] = {}
    stands_for: dict[str, int] = {}
    for layer in graph.layers:
        found = sorted({stands_for[name] for name in layer.inputs if name in stands_for})
        if layer.op in _SHOWN or layer.parameters:
            inputs[layer.index] = found
            place = layer.index
        elif found and layer.op is not Op.SHAPE:
            place = found[-1]
            if len(found) > 1:
                joined[place] = sorted({*joined.get(place, ()), *found[:-1]})
        else:
            continue
        for name in layer.outputs:
            stands_for[name] = place
    return inputs, joined


def shape_text(shape: Shape | None) -> str:
    """A shape as people write it: "batch × 64 × 56 × 56", "?" for what is not known."""
    if shape is None:
        return "?"
    return " × ".join("?" if size is None else str(size) for size in shape) or "scalar"


def _word(value: FactValue | None) -> str:
    return value if isinstance(value, str) else ""


def _number(value: FactValue | None) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
