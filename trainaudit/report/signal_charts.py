"""The predicted signal over depth, forward and backward, against the bounds that the rules set and with the places where the damage starts.
Stdlib only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from trainaudit.report import numbers
from trainaudit.report.depth_charts import DepthChart, log_depth_chart
from trainaudit.result import Audit, Finding, LayerRow, Run

MAX_PLACES = 3
"""Places that one chart marks."""

FORWARD = (("predicted-vanishing-signal", "floor"), ("predicted-exploding-signal", "ceiling"))
BACKWARD = (("predicted-vanishing-gradient", "floor"), ("predicted-exploding-gradient", "ceiling"))


def signal_charts(run: Run, audit: Audit, findings: Sequence[Finding]) -> list[DepthChart]:
    """The chart of the signal and that of the gradient, where at least two layers have a prediction. `findings` are those that are shown."""
    limits = {(rule.id, limit.name): limit.value for rule in run.rules for limit in rule.thresholds}
    damaged = damaged_layers(findings)
    charts = []
    rows = [row for row in audit.layers if _is_positive(row.predicted_std)]
    if len(rows) >= 2:
        charts.append(
            log_depth_chart(
                "Predicted signal over depth",
                "predicted spread of the output",
                rows,
                [
                    ("standard deviation", [row.predicted_std for row in rows]),
                    ("root mean square", [row.predicted_rms for row in rows]),
                ],
                band=band_of(limits, FORWARD),
                places=_places(rows, damaged),
            )
        )
    rows = [row for row in audit.layers if _is_positive(row.predicted_gradient)]
    if len(rows) >= 2:
        charts.append(
            log_depth_chart(
                "Predicted gradient over depth",
                "predicted gradient relative to the last layer",
                rows,
                [
                    ("gradient of the weights", [row.predicted_gradient for row in rows]),
                    ("gradient by the output", [row.predicted_backward for row in rows]),
                ],
                band=band_of(limits, BACKWARD),
                places=_places(rows, damaged),
            )
        )
    return charts


def coverage_sentence(audit: Audit) -> str:
    """How much of the signal was predicted, "" where nothing was."""
    share = audit.model.signal_coverage
    if share is None:
        return ""
    rest = "" if share == 1 else "; rules that need the rest were not run there"
    return f"Predicted from graph and weights, for standardised inputs; nothing was run. The prediction covers {numbers.share(share)} of the layers{rest}."


def damaged_layers(findings: Sequence[Finding]) -> list[str]:
    """Layers at the root of findings that stand on the prediction, each once."""
    found = [
        finding.root.location.layer
        for finding in findings
        if finding.kind != "model" and any("predicted_" in evidence.fact for evidence in finding.root.evidence)
    ]
    return list(dict.fromkeys(name for name in found if name))


def _places(rows: Sequence[LayerRow], damaged: Sequence[str]) -> list[int]:
    index = {row.name: position for position, row in enumerate(rows)}
    return sorted(index[name] for name in damaged if name in index)[:MAX_PLACES]


def band_of(limits: Mapping[tuple[str, str], object], ends: Sequence[tuple[str, str]]) -> tuple[float, float] | None:
    low, high = (limits.get(end) for end in ends)
    if isinstance(low, (int, float)) and isinstance(high, (int, float)) and 0 < low < high:
        return float(low), float(high)
    return None


def _is_positive(value: float | None) -> bool:
    return value is not None and isfinite(value) and value > 0
