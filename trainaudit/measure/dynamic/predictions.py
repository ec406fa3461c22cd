"""Predicted signals as a run's first step corrects them, and what an activation function makes of the layer before it. May import `measure.facts` and
siblings.

A segment's numbers are predicted for standardised inputs, at places that no tap reads. What is read is the output of its layers, so that the
prediction is corrected by what was measured over what was predicted there.
"""

from __future__ import annotations

from itertools import pairwise

from trainaudit.measure.dynamic.series import divided
from trainaudit.measure.facts import Columns, FactTable, FactValue
from trainaudit.trace.trace import Trace


def measure_segments(table: FactTable, measured: Columns) -> Columns:
    """Of segments of two layers and more. `measured` are the columns that were made of the trace."""
    facts = table.columns
    firsts, lasts = facts.get("segment.first_layer", {}), facts.get("segment.last_layer", {})

    def correction(fact: str, predicted: str, layer: FactValue | None) -> float | None:
        """Measured over predicted."""
        name = layer if isinstance(layer, str) else ""
        above, below = measured.get(fact, {}).get(name), facts.get(predicted, {}).get(name)
        return divided(above, below) if isinstance(above, float) and isinstance(below, float) else None

    def corrected(predicted: str, segment: str, factor: float | None) -> float | None:
        value = facts.get(predicted, {}).get(segment)
        return value * factor if isinstance(value, float) and factor is not None else None

    columns: Columns = {}
    for segment, first in firsts.items():
        last = lasts.get(segment)
        if first == last:
            continue
        forward = [correction("layer.measured_rms", "layer.predicted_rms", layer) for layer in (first, last)]
        backward = [
            correction("layer.measured_backward_ratio", "layer.predicted_backward_ratio", layer)
            for layer in (first, last)
        ]
        ahead = corrected("segment.predicted_forward_change", segment, divided(forward[1], forward[0]))
        back = corrected("segment.predicted_backward_change", segment, divided(backward[0], backward[1]))
        found = {
            "measured_end_std": corrected("segment.predicted_end_std", segment, forward[1]),
            "measured_backward_change": back,
            "measured_change": (ahead * back) ** 0.5 if ahead is not None and back is not None else None,
        }
        for fact, value in found.items():
            if value is not None:
                columns.setdefault(f"segment.{fact}", {})[segment] = value
    return columns


def measure_rectified(trace: Trace, table: FactTable) -> Columns:
    """Of layers whose output a rectifier alone reads: the share of its units that it keeps silent, and how often each activation function saturates."""
    activation = table.columns.get("layer.activation", {})
    silent: dict[str, FactValue] = {}
    for before, after in pairwise(trace.activations):
        name = before.tap.layer
        if (
            name
            and after.silent_share is not None
            and activation.get(name) == after.tap.op
            and before.unit_count == after.unit_count
        ):
            silent.setdefault(name, after.silent_share)
    return {"layer.output_silent_share": silent}
