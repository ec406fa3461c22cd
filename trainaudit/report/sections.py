"""What the HTML page shows, worked out from the record before any template runs: sections, cards, rows. No markup lives here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace

from trainaudit.frozen import frozen
from trainaudit.recipe import STAGES, Step
from trainaudit.report import probe_view, proof_lines, proofs, view
from trainaudit.report.block_map import block_map
from trainaudit.report.cards import MAX_OTHERS, Card, all_cards, cards_of, first_fixes
from trainaudit.report.drawing import Drawing
from trainaudit.report.layer_map import layer_map
from trainaudit.report.not_run import Block, not_run
from trainaudit.report.probe_charts import run_charts
from trainaudit.report.ridges import ridge_charts
from trainaudit.report.tips import Rung, rungs
from trainaudit.report.treemap import treemap
from trainaudit.result import Audit, Finding, LayerRow, RuleInfo, Run, State

MAX_LAYERS = 200
"""Layers to choose from in the filter."""


@frozen
class Probe:
    """What a probe saw, as it is shown."""

    headline: str
    rows: tuple[tuple[str, str], ...]
    experiments: tuple[probe_view.ExperimentRow, ...]
    run_charts: tuple[Drawing, ...]
    ridges: tuple[Drawing, ...]


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
    evidence: str
    identity: tuple[tuple[str, str], ...]
    unrecognized: str
    total: view.Counts
    counts: tuple[tuple[str, int, str], ...]
    contents: tuple[tuple[str, str], ...]
    rungs: tuple[Rung, ...]
    cards: tuple[Card, ...]
    cards_left_out: int
    fixes: tuple[Card, ...]
    tried: str
    together: proofs.Shown | None
    finding_layers: tuple[str, ...]
    probe: Probe | None
    block_map: Drawing | None
    layer_map: Drawing | None
    signal_coverage: str
    treemap: Drawing | None
    rows: tuple[LayerRow, ...]
    rows_left_out: int
    marked: dict[str, Card]
    not_run: tuple[Block, ...]
    not_run_count: int
    clean: tuple[RuleInfo, ...]
    not_applicable: tuple[tuple[str, str, list[str]], ...]
    not_applicable_count: int
    aside: tuple[tuple[Finding, str], ...]
    by_hand: tuple[Step, ...]


def section(
    run: Run,
    audit: Audit,
    index: int,
    of: int,
    max_rows: int,
    seen: Counter[str],
    *,
    most_cards: int = 1000,
    most_places: int = MAX_OTHERS,
) -> Section:
    infos = {rule.id: rule for rule in run.rules}
    prefix = f"m{index + 1}-" if of > 1 else ""
    every = cards_of(run, audit, seen, most_places)
    cards = tuple(_first(every, most_cards))
    marked: dict[str, Card] = {}
    for card in sorted(all_cards(cards), key=lambda card: -card.finding.severity.rank):
        for occurrence in card.finding.occurrences:
            if occurrence.location.layer and card.finding.kind not in view.SINGLE_KINDS:
                marked.setdefault(occurrence.location.layer, card)
    rows = _rows(audit, marked, max_rows)
    total = view.counts(run, [audit])
    not_applicable = tuple(view.outcome_groups(audit, State.NOT_APPLICABLE))
    aside = [(finding, finding.ignored) for finding in view.ignored_findings(audit)]
    aside += view.withdrawn_findings(audit)
    aside += [(finding, "in the baseline") for finding in view.baseline_findings(audit)]
    fixes = first_fixes(cards)
    clean = [outcome.rule for outcome in audit.outcomes if outcome.state is State.CLEAN]
    shown = [card.finding for card in all_cards(cards)]
    probe = _probe(audit)
    contents = [
        ("recipe", "The recipe", True),
        ("fixes", "What to change first", bool(fixes or proof_lines.tried(audit))),
        ("findings", "Findings", True),
        ("probe", "The probe", probe is not None),
        ("layers", "Layers", bool(rows)),
        ("not-run", "Not run", True),
        ("ignored", "Set aside", bool(aside)),
        ("passed", "Passed and not applicable", True),
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
        evidence=view.evidence_sentence(audit),
        identity=probe_view.identity(audit.trace),
        unrecognized=view.unrecognized_sentence(audit.model),
        total=total,
        counts=_counts(total),
        contents=tuple((prefix + anchor, name) for anchor, name, is_there in contents if is_there),
        rungs=rungs(run, audit, cards),
        cards=cards,
        cards_left_out=sum(1 for _ in all_cards(every)) - sum(1 for _ in all_cards(cards)),
        fixes=fixes,
        tried=proof_lines.tried(audit),
        together=None if audit.together is None else proofs.shown(audit.together),
        finding_layers=_finding_layers(cards),
        probe=probe,
        block_map=block_map(audit, shown),
        layer_map=layer_map(run, audit, shown),
        signal_coverage=view.coverage_sentence(audit),
        treemap=treemap(audit),
        rows=rows,
        rows_left_out=len(audit.layers) - len(rows),
        marked=marked,
        not_run=not_run(run, audit),
        not_run_count=view.not_run(total),
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
        run_charts=tuple(run_charts(audit.trace).values()),
        ridges=tuple(ridge_charts(audit.trace)),
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


def _first(cards: Sequence[Card], most: int) -> Iterator[Card]:
    """The first cards with what follows from them, `most` in all."""
    for card in cards:
        if most <= 0:
            return
        yield replace(card, following=card.following[: most - 1])
        most -= 1 + len(card.following)


def _finding_layers(cards: Sequence[Card]) -> tuple[str, ...]:
    """The layers that findings stand on, to choose from."""
    return tuple(dict.fromkeys(layer for card in all_cards(cards) for layer in card.layers))[:MAX_LAYERS]


def _rows(audit: Audit, marked: Container[str], limit: int) -> tuple[LayerRow, ...]:
    """The layer table, thinned to `limit` rows in topological order: layers with findings stay first, then those with weights."""
    if len(audit.layers) <= limit:
        return audit.layers
    order = sorted(
        range(len(audit.layers)),
        key=lambda index: (audit.layers[index].name not in marked, audit.layers[index].parameters == 0, index),
    )
    return tuple(audit.layers[index] for index in sorted(order[:limit]))
