"""What the HTML page shows, worked out from the record before any template runs: sections, cards, rows. No markup lives here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from trainaudit.frozen import frozen
from trainaudit.recipe import STAGES, STEPS, Step
from trainaudit.report import charts, numbers, probe_view, view
from trainaudit.report.drawing import Drawing
from trainaudit.report.ladder import Rung, ladder
from trainaudit.report.layer_map import layer_map
from trainaudit.report.probe_charts import run_charts
from trainaudit.result import Audit, Evidence, Finding, LayerRow, Occurrence, Reference, RuleInfo, Run, State

MAX_OTHERS = 60


@frozen
class Measured:
    """A piece of evidence as it is shown."""

    label: str
    measured: str
    expected: str
    because: str
    bar: charts.EvidenceBar | None


@frozen
class Card:
    """A finding as it is shown."""

    finding: Finding
    anchor: str
    numbers: tuple[Measured, ...]
    has_bars: bool
    others: int
    shown_others: tuple[Occurrence, ...]
    stage: str
    step: Step | None
    references: tuple[Reference, ...]


@frozen
class Probe:
    """What a probe saw, as it is shown."""

    headline: str
    rows: tuple[tuple[str, str], ...]
    experiments: tuple[probe_view.ExperimentRow, ...]
    run_charts: tuple[Drawing, ...]


@frozen
class Section:
    """An audit as it is shown. `prefix` keeps the anchors of several models apart, `of` and `named` the names of their landmarks;
    `level` is the level of its headings."""

    audit: Audit
    anchor: str
    prefix: str
    of: str
    named: str
    level: int
    is_first: bool
    worst: str
    verdict: str
    unrecognized: str
    total: view.Counts
    counts: tuple[tuple[str, int, str], ...]
    contents: tuple[tuple[str, str], ...]
    ladder: tuple[Rung, ...]
    cards: tuple[Card, ...]
    fixes: tuple[Card, ...]
    anchors: dict[str, str]
    probe: Probe | None
    layer_map: Drawing | None
    signal_coverage: str
    shares: tuple[charts.ShareBar, ...]
    rows: tuple[LayerRow, ...]
    rows_left_out: int
    marked: dict[str, str]
    not_run: tuple[tuple[State, str, str, list[str]], ...]
    not_run_count: int
    clean: tuple[RuleInfo, ...]
    not_applicable: tuple[tuple[str, str, list[str]], ...]
    not_applicable_count: int
    aside: tuple[tuple[Finding, str], ...]
    by_hand: tuple[Step, ...]


def section(run: Run, audit: Audit, index: int, of: int, max_rows: int, seen: Counter[str]) -> Section:
    infos = {rule.id: rule for rule in run.rules}
    prefix = f"m{index + 1}-" if of > 1 else ""
    cards = tuple(_card(finding, infos.get(finding.rule), seen) for finding in view.live_findings(audit))
    anchors: dict[str, str] = {}
    marked: dict[str, str] = {}
    for card in cards:
        anchors.setdefault(card.finding.rule, card.anchor)
        for occurrence in card.finding.occurrences:
            if occurrence.location.layer and card.finding.kind not in view.SINGLE_KINDS:
                marked.setdefault(occurrence.location.layer, card.anchor)
    rows = _rows(audit, marked, max_rows)
    total = view.counts(run, [audit])
    not_run = tuple(
        (state, *group) for state in (State.FAILED, State.NOT_MEASURED) for group in view.outcome_groups(audit, state)
    )
    not_applicable = tuple(view.outcome_groups(audit, State.NOT_APPLICABLE))
    aside = [(finding, finding.ignored) for finding in view.ignored_findings(audit)]
    aside += view.withdrawn_findings(audit)
    aside += [(finding, "in the baseline") for finding in view.baseline_findings(audit)]
    rungs = tuple(ladder(run, audit))
    fixes = _first_fixes(cards)
    clean = [outcome.rule for outcome in audit.outcomes if outcome.state is State.CLEAN]
    shown = [card.finding for card in cards]
    probe = _probe(audit)
    contents = [
        ("recipe", "The recipe", True),
        ("fixes", "What to change first", bool(fixes)),
        ("findings", "Findings", True),
        ("probe", "The probe", probe is not None),
        ("layers", "Layers", bool(rows)),
        ("not-run", "Not run", True),
        ("ignored", "Set aside", bool(aside)),
        ("passed", "Passed and not applicable", True),
        ("tips", "The recipe, tip by tip", True),
        ("by-hand", "To check by hand", True),
    ]
    return Section(
        audit=audit,
        anchor=f"model-{index + 1}",
        prefix=prefix,
        of=f" model-{index + 1}-name" if of > 1 else "",
        named=f"{audit.target}: " if of > 1 else "",
        level=3 if of > 1 else 2,
        is_first=index == 0,
        worst=view.worst(total),
        verdict=view.verdict(run, audit),
        unrecognized=view.unrecognized_sentence(audit.model),
        total=total,
        counts=_counts(total),
        contents=tuple((prefix + anchor, name) for anchor, name, is_there in contents if is_there),
        ladder=rungs,
        cards=cards,
        fixes=fixes,
        anchors=anchors,
        probe=probe,
        layer_map=layer_map(run, audit, shown),
        signal_coverage=view.coverage_sentence(audit),
        shares=tuple(charts.share_bars(audit)),
        rows=rows,
        rows_left_out=len(audit.layers) - len(rows),
        marked=marked,
        not_run=not_run,
        not_run_count=sum(len(rules) for *_, rules in not_run),
        clean=tuple(infos[rule] for rule in clean if rule in infos),
        not_applicable=not_applicable,
        not_applicable_count=sum(len(rules) for *_, rules in not_applicable),
        aside=tuple(aside),
        by_hand=tuple(step for stage in STAGES for step in stage.steps if step.auto == "by-hand"),
    )


def _probe(audit: Audit) -> Probe | None:
    if audit.trace is None:
        return None
    return Probe(
        headline=probe_view.headline(audit.trace),
        rows=tuple(probe_view.rows(audit)),
        experiments=tuple(probe_view.experiment_rows(audit.trace)),
        run_charts=tuple(run_charts(audit.trace)),
    )


def _counts(total: view.Counts) -> tuple[tuple[str, int, str], ...]:
    """The figures under the verdict: state, number, word. Crashed rules count as not run."""
    shown = [
        ("error", total.error, "error" if total.error == 1 else "errors"),
        ("warning", total.warning, "warning" if total.warning == 1 else "warnings"),
        ("note", total.note, "note" if total.note == 1 else "notes"),
        ("clean", total.states.get(State.CLEAN, 0), "passed"),
        ("not-run", view.not_run(total), "not run"),
        ("not-applicable", total.states.get(State.NOT_APPLICABLE, 0), "not applicable"),
        ("ignored", total.ignored + total.withdrawn + total.in_baseline, "set aside"),
    ]
    return tuple(shown if shown[-1][1] else shown[:-1])


def _card(finding: Finding, info: RuleInfo | None, seen: Counter[str]) -> Card:
    slug = (
        "".join(char if char.isascii() and char.isalnum() else "-" for char in finding.rule.lower()).strip("-")
        or "finding"
    )
    seen[slug] += 1
    measured = tuple(_measured(evidence) for evidence in finding.root.evidence)
    others = finding.occurrences[1:]
    return Card(
        finding=finding,
        anchor=slug if seen[slug] == 1 else f"{slug}-{seen[slug]}",
        numbers=measured,
        has_bars=any(item.bar for item in measured),
        others=len(others),
        shown_others=others[:MAX_OTHERS],
        stage=finding.recipe.split(".", 1)[0],
        step=STEPS.get(finding.recipe),
        references=() if info is None else info.references,
    )


def _measured(evidence: Evidence) -> Measured:
    measured, expected = numbers.measured_and_expected(evidence)
    return Measured(
        numbers.fact_label(evidence.fact), measured, expected, evidence.because, charts.evidence_bar(evidence)
    )


def _first_fixes(cards: Sequence[Card]) -> tuple[Card, ...]:
    """What to change first: the worst findings that come with a fix, causes before what the signal rules say of their consequences."""
    fixable = [card for card in cards if card.finding.fix is not None]
    return tuple(sorted(fixable, key=lambda card: card.finding.category == "signal")[:3])


def _rows(audit: Audit, marked: dict[str, str], limit: int) -> tuple[LayerRow, ...]:
    """The layer table, thinned to `limit` rows in topological order: layers with findings stay first, then those with weights."""
    if len(audit.layers) <= limit:
        return audit.layers
    order = sorted(
        range(len(audit.layers)),
        key=lambda index: (audit.layers[index].name not in marked, audit.layers[index].parameters == 0, index),
    )
    return tuple(audit.layers[index] for index in sorted(order[:limit]))
