"""The map of the layers: what was predicted and what was measured of each, over depth, in panels that line up. Stdlib only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from trainaudit.report import numbers
from trainaudit.report.depth_axis import AXIS, Pin, columns_for, draw_axis, draw_strip
from trainaudit.report.drawing import WIDE, Drawing, Mark, left_out, line, marks_of, thinned
from trainaudit.report.escaping import shortened, visible
from trainaudit.report.small_multiples import HEAD, PLOT, Panel, Series, draw_panel
from trainaudit.report.view import SINGLE_KINDS
from trainaudit.result import Audit, Finding, LayerRow, Run

MAX_TABLE = 60
MAX_ROOTS = 3
"""Errors whose layer is marked through all panels."""
_GAP = 6.0

FORWARD = (("predicted-vanishing-signal", "floor"), ("predicted-exploding-signal", "ceiling"))
BACKWARD = (("predicted-vanishing-gradient", "floor"), ("predicted-exploding-gradient", "ceiling"))
_UPDATE = 1e-3
_UPDATE_BAND = (1e-4, 1e-2)
"""A decade around the update of 1e-3 of a weight in each step that Karpathy looks for."""

_QUANTITIES = (
    "measured_std", "measured_rms", "predicted_rms", "predicted_std", "measured_gradient", "predicted_gradient", "silent_share", "saturated_share", "update_ratio",
    "gain", "weight_std",
)  # fmt: skip
_COLUMNS = (
    "activation σ, measured", "activation rms, measured", "activation rms, predicted", "activation σ over samples, predicted", "gradient, measured", "gradient, predicted", "silent units", "saturated values",
    "update ratio", "gain", "weight σ",
)  # fmt: skip


def layer_map(run: Run, audit: Audit, findings: Sequence[Finding]) -> Drawing | None:
    """None where no number of two layers is known. `findings` are those that are shown."""
    rows = [row for row in audit.layers if any(getattr(row, name) is not None for name in _QUANTITIES)]
    limits = {(rule.id, limit.name): limit.value for rule in run.rules for limit in rule.thresholds}
    panels = [panel for panel in _panels(rows, limits, _share_limits(run)) if _has_two(panel)]
    if not panels:
        return None
    columns = columns_for(len(rows))
    said = _findings_by_layer(findings)
    pins = [
        Pin(place, *said[row.name][0], len(said[row.name]) - 1) for place, row in enumerate(rows) if row.name in said
    ]
    roots = _roots(rows, findings)
    marks: list[Mark] = []
    for place, panel in enumerate(panels):
        start = place * (HEAD + PLOT + _GAP)
        marks += draw_panel(panel, columns, start)
        marks += [
            line("level-bad", columns.x(place), start + HEAD, columns.x(place), start + HEAD + PLOT) for place in roots
        ]
    top = len(panels) * (HEAD + PLOT + _GAP)
    if pins:
        strip, height = draw_strip(columns, pins, top)
        marks += strip
        top += height
    marks += draw_axis(columns, [row.name for row in rows], top)
    used, table = _table(rows, said)
    kept = thinned(table, MAX_TABLE, [pin.layer for pin in pins])
    return Drawing(
        title="The layers, from input to output",
        description=_description(rows, panels, roots, len(pins)),
        width=WIDE,
        height=top + AXIS,
        marks=marks_of(marks),
        columns=used,
        table=kept,
        note=left_out(len(kept), len(table), "layer"),
        subtitle=f"{columns.size} layers at each place: a line at their median, an area from the lowest to the highest"
        if columns.size > 1
        else "",
    )


def _panels(
    rows: Sequence[LayerRow], limits: Mapping[tuple[str, str], object], shares: tuple[tuple[str, float], ...]
) -> list[Panel]:
    def series(name: str, field: str, style: str = "first") -> Series:
        return Series(name, tuple(getattr(row, field) for row in rows), style)

    drifting = any(
        row.predicted_std is not None and row.predicted_rms and row.predicted_std < row.predicted_rms / 2
        for row in rows
    )
    forward, backward = band_of(limits, FORWARD), band_of(limits, BACKWARD)
    gains = tuple(row.gain / row.wanted_gain if row.gain is not None and row.wanted_gain else None for row in rows)
    return [
        Panel(
            "Activations, rms",
            _known(
                series("measured", "measured_rms"), series("predicted", "predicted_rms", "second"),
                *([series("predicted σ", "predicted_std", "third")] if drifting else []),
            ),
            forward, _well(forward), is_log=True,
        ),
        Panel(
            "Weight gradients (last layer = 1)",
            _known(series("measured", "measured_gradient"), series("predicted", "predicted_gradient", "second")),
            backward, _well(backward), is_log=True,
        ),
        Panel(
            "Silent units and saturated values",
            _known(series("silent", "silent_share"), series("saturated", "saturated_share", "second")),
            levels=shares, is_share=True,
        ),
        Panel(
            "Update ratio, ‖Δw‖ ÷ ‖w‖ of one step", _known(series("measured", "update_ratio")), _UPDATE_BAND,
            "a decade around the target", (("target 0.001", _UPDATE),), is_log=True,
        ),
        Panel("Gain of the weights over the wanted gain", _known(Series("gain ÷ wanted", gains)), levels=(("as wanted", 1.0),), is_log=True),
        Panel("Standard deviation of the weights", _known(series("weight σ", "weight_std"))),
    ]  # fmt: skip


def _known(*series: Series) -> tuple[Series, ...]:
    """Those that hold a number; a prediction that stands alone takes the accent."""
    found = tuple(one for one in series if any(value is not None for value in one.values))
    return (Series(found[0].name, found[0].values), *found[1:]) if found else ()


def _has_two(panel: Panel) -> bool:
    return any(sum(value is not None and isfinite(value) for value in series.values) >= 2 for series in panel.series)


def _well(band: tuple[float, float] | None) -> str:
    return "" if band is None else f"healthy {numbers.number(band[0])} to {numbers.number(band[1])}"


def band_of(limits: Mapping[tuple[str, str], object], ends: Sequence[tuple[str, str]]) -> tuple[float, float] | None:
    low, high = (limits.get(end) for end in ends)
    if isinstance(low, (int, float)) and isinstance(high, (int, float)) and 0 < low < high:
        return float(low), float(high)
    return None


def _share_limits(run: Run) -> tuple[tuple[str, float], ...]:
    """Thresholds of the rules that judge silent units and saturated values."""
    facts = ("layer.measured_silent_share", "layer.measured_saturated_share")
    found = {
        float(limit.value): f"limit of {visible(rule.id)}"
        for rule in run.rules
        if any(fact in rule.needs for fact in facts)
        for limit in rule.thresholds[:1]
        if limit.unit == "share" and isinstance(limit.value, int | float) and 0 < limit.value < 1
    }
    return tuple((name, at) for at, name in sorted(found.items()))


def _findings_by_layer(findings: Sequence[Finding]) -> dict[str, list[tuple[str, str]]]:
    """Layer → severity and rule of what was found there, worst first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for finding in sorted(findings, key=lambda finding: -finding.severity.rank):
        if finding.kind in SINGLE_KINDS:
            continue
        for occurrence in finding.occurrences:
            layer = occurrence.location.layer
            pair = (finding.severity.value, visible(finding.rule))
            if layer and pair not in found.setdefault(layer, []):
                found[layer].append(pair)
    return found


def _roots(rows: Sequence[LayerRow], findings: Sequence[Finding]) -> list[int]:
    """Where errors begin, in the order of the findings."""
    index = {row.name: place for place, row in enumerate(rows)}
    names = [
        finding.root.location.layer
        for finding in findings
        if finding.severity.value == "error" and finding.kind not in SINGLE_KINDS
    ]
    return [index[name] for name in dict.fromkeys(names) if name in index][:MAX_ROOTS]


def _table(
    rows: Sequence[LayerRow], said: Mapping[str, Sequence[tuple[str, str]]]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    used = [
        (name, column)
        for name, column in zip(_QUANTITIES, _COLUMNS, strict=True)
        if any(getattr(row, name) is not None for row in rows)
    ]
    table = [
        (
            shortened(row.name, 60),
            *("" if (value := getattr(row, name)) is None else numbers.number(value) for name, _ in used),
            ", ".join(f"{severity} {rule}" for severity, rule in said.get(row.name, ())),
        )
        for row in rows
    ]
    return ("layer", *(column for _, column in used), "findings"), table


def _description(rows: Sequence[LayerRow], panels: Sequence[Panel], roots: Sequence[int], found: int) -> str:
    parts = [
        f"{numbers.count(len(panels), 'quantity', 'quantities')} of {numbers.count(len(rows), 'layer')}, from input to output."
    ]
    for panel in panels:
        said = []
        for series in panel.series:
            known = [value for value in series.values if value is not None and isfinite(value)]
            if known:
                said.append(
                    f"{series.name} from {numbers.number(known[0])} to {numbers.number(known[-1])}, lowest {numbers.number(min(known))}, highest {numbers.number(max(known))}"
                )
        parts.append(f"{panel.title}: {'; '.join(said)}.")
    if found:
        parts.append(f"{numbers.count(found, 'layer')} with findings.")
    if roots:
        parts.append(f"Errors begin at {', '.join(shortened(rows[place].name, 40) for place in roots)}.")
    return " ".join(parts)
