"""The chart of a finding: its number over depth with the limit and the layers that break it, or the experiment of the probe that gave it. Stdlib only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from trainaudit.report import numbers
from trainaudit.report.curves import Curve, curve_chart
from trainaudit.report.depth_axis import AXIS, Pin, columns_for, draw_axis, draw_strip
from trainaudit.report.drawing import WIDE, Drawing, Mark, left_out, marks_of, thinned
from trainaudit.report.escaping import shortened, visible
from trainaudit.report.small_multiples import HEAD, PLOT, Panel, Series, draw_panel
from trainaudit.report.view import SINGLE_KINDS
from trainaudit.result import Audit, Evidence, Finding, Scalar
from trainaudit.trace.trace import Trace

MAX_TABLE = 40
LEAST = 3
"""Layers of which a number must be known, so that there is a course to see."""

_EXPERIMENTS: Mapping[str, tuple[str, ...]] = {
    "overfit-one-batch": ("overfit_",),
    "input-baseline": ("input_", "real_input_", "zeroed_input_"),
    "learning-rate-range": ("suggested_learning_rate", "highest_stable_", "stability_"),
    "gradient": ("gradient_norm", "gradient_spike", "spike_", "zero_gradient"),
    "run": (
        "loss_",
        "first_loss",
        "final_loss",
        "early_peak",
        "batch_noise",
        "initial_loss",
        "expected_initial",
        "non_finite",
    ),
}
"""Chart → how the facts of a training run begin that are to be seen in it."""


def card_chart(audit: Audit, finding: Finding, experiments: Mapping[str, Drawing]) -> Drawing | None:
    """None where the record has no numbers to draw. `experiments` are the charts of the probe by name."""
    facts = [evidence for evidence in finding.root.evidence if numbers.is_number(evidence.value)]
    facts.sort(key=lambda evidence: evidence.threshold is None)
    if finding.kind in SINGLE_KINDS:
        names = [evidence.fact.split(".", 1)[-1] for evidence in finding.root.evidence]
        chosen = (
            name
            for fact in names
            for name, starts in _EXPERIMENTS.items()
            if fact.startswith(starts) and name in experiments
        )
        return experiments.get(next(chosen, ""))
    drawn = (_over_depth(audit, finding, evidence) for evidence in facts if evidence.unit in ("", "ratio", "share"))
    return next((chart for chart in drawn if chart is not None), None)


def gradient_chart(trace: Trace) -> Drawing | None:
    """The norm of the whole gradient, step by step."""
    if trace.run is None:
        return None
    norms = trace.run.gradient_norm
    curves = [Curve("gradient norm", norms)]
    return curve_chart("Gradient of the run", "norm of the gradient", "step", range(len(norms)), curves)


def _over_depth(audit: Audit, finding: Finding, evidence: Evidence) -> Drawing | None:
    known = _alike(audit, finding, audit.facts.get(evidence.fact, {}))
    values = {name: float(value) for name, value in known.items() if numbers.is_number(value)}  # type: ignore[arg-type]
    places = {name: place for place, name in enumerate(values)}
    pins = [
        Pin(places[occurrence.subject], finding.severity.value, visible(finding.rule))
        for occurrence in finding.occurrences
        if occurrence.subject in places
    ]
    if len(values) < LEAST or not pins or len({value for value in values.values() if isfinite(value)}) < 2:
        return None
    label = numbers.fact_label(evidence.fact)
    limit = evidence.threshold
    levels = (("limit", float(limit)),) if numbers.is_number(limit) else ()  # type: ignore[arg-type]
    is_share = evidence.unit == "share" and all(0 <= value <= 1 for value in values.values())
    panel = Panel("", (Series(label, tuple(values.values())),), levels=levels, is_share=is_share)
    columns = columns_for(len(values))
    marks: list[Mark] = draw_panel(panel, columns, 0.0)
    strip, height = draw_strip(columns, pins, HEAD + PLOT)
    names = list(values)
    marks += [*strip, *draw_axis(columns, names, HEAD + PLOT + height)]
    found = {occurrence.subject for occurrence in finding.occurrences}
    table = [
        (shortened(name, 60), numbers.scalar(value, evidence.unit), "found" if name in found else "")
        for name, value in values.items()
    ]
    rows = thinned(table, MAX_TABLE, [pin.layer for pin in pins])
    what = f"{label[:1].upper()}{label[1:]} over depth"
    return Drawing(
        title=what,
        description=_description(label, evidence, values, pins),
        width=WIDE,
        height=HEAD + PLOT + height + AXIS,
        marks=marks_of(marks),
        columns=(finding.kind, label, "finding"),
        table=rows,
        note=left_out(len(rows), len(table), finding.kind),
    )


def _alike(audit: Audit, finding: Finding, values: Mapping[str, Scalar | None]) -> Mapping[str, Scalar | None]:
    """Of parameters those of the same role: a bias of zeros says nothing of the weights."""
    if finding.kind != "parameter":
        return values
    roles = audit.facts.get("parameter.role", {})
    role = roles.get(finding.root.subject)
    return {name: value for name, value in values.items() if roles.get(name) == role}


def _description(label: str, evidence: Evidence, values: Mapping[str, float], pins: Sequence[Pin]) -> str:
    known = [value for value in values.values() if isfinite(value)]
    low, high = (numbers.scalar(value, evidence.unit) for value in (min(known), max(known)))
    limit = (
        ""
        if evidence.threshold is None
        else f", against a limit of {numbers.scalar(evidence.threshold, evidence.unit)}"
    )
    return (
        f"{label} from input to output, lowest {low}, highest {high}{limit}; "
        f"{len(pins)} of {len(values)} are marked as found."
    )
