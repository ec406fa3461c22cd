"""Findings as cards: each with its numbers, its proof and its place, consequences under their cause, and the fixes that matter most. No markup lives here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from trainaudit.frozen import frozen
from trainaudit.recipe import STEPS, Step
from trainaudit.report import charts, numbers, proofs, view
from trainaudit.report.card_charts import card_chart, gradient_chart
from trainaudit.report.causes import grouped
from trainaudit.report.drawing import Drawing
from trainaudit.report.escaping import visible
from trainaudit.report.probe_charts import run_charts
from trainaudit.result import PROVED, Audit, Evidence, Finding, Occurrence, Reference, RuleInfo, Run

MAX_OTHERS = 60
MAX_FIXES = 3
MAX_CHARTS = 24
"""Findings of a model that get a chart of their own, from the first on."""


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
    """A finding as it is shown, with bars of its numbers where it has no `chart`. `sources` say where its limits come from; `following` are those that may follow from it, `suspects` anchors and names of what it may follow from itself."""

    finding: Finding
    anchor: str
    chart: Drawing | None
    numbers: tuple[Measured, ...]
    sources: tuple[str, ...]
    has_bars: bool
    others: int
    shown_others: tuple[Occurrence, ...]
    layers: tuple[str, ...]
    stage: str
    step: Step | None
    references: tuple[Reference, ...]
    proof: proofs.Shown | None
    following: tuple[Card, ...]
    suspects: tuple[tuple[str, str], ...]


def cards_of(run: Run, audit: Audit, seen: Counter[str], most_places: int = MAX_OTHERS) -> tuple[Card, ...]:
    """The live findings, worst first, each with `most_places` of its places. `seen` counts the anchors that the page has."""
    infos = {rule.id: rule for rule in run.rules}
    groups = grouped(run, view.live_findings(audit))
    charts_of = _charts(audit)
    ordered = [finding for group in groups for finding in (group.root, *group.following)]
    anchors = {id(finding): _anchor(finding, seen) for finding in ordered}

    def card(finding: Finding, following: tuple[Card, ...] = (), suspects: Sequence[Finding] = ()) -> Card:
        named = tuple((anchors[id(other)], other.name) for other in suspects)
        chart = card_chart(audit, finding, charts_of) if ordered.index(finding) < MAX_CHARTS else None
        return _card(finding, infos.get(finding.rule), anchors[id(finding)], chart, following, named, most_places)

    return tuple(card(group.root, tuple(map(card, group.following)), group.suspects) for group in groups)


def lone_card(finding: Finding, info: RuleInfo | None, seen: Counter[str]) -> Card:
    """A finding apart from all others, as a comparison shows it."""
    return _card(finding, info, _anchor(finding, seen), None, (), ())


def _charts(audit: Audit) -> dict[str, Drawing]:
    """What the probe's charts show, by name."""
    if audit.trace is None:
        return {}
    gradient = gradient_chart(audit.trace)
    return {**run_charts(audit.trace), **({} if gradient is None else {"gradient": gradient})}


def all_cards(cards: Sequence[Card]) -> Iterator[Card]:
    """Each card, and behind it those that are folded under it."""
    for card in cards:
        yield card
        yield from card.following


def first_fixes(cards: Sequence[Card]) -> tuple[Card, ...]:
    """What to change first: what was proved, by what it gained; then the worst findings that come with a fix, code before mere advice. A fix that
    did not help is left out; so is what may follow from something else, unless it was proved, or nothing was tried and there is nothing else."""
    every = [card for card in all_cards(cards) if card.finding.fix is not None]
    fixable = [
        card for card in every if _is_proved(card) or (card in cards and not (card.proof and card.proof.is_refuted))
    ]
    if not fixable and not any(card.proof for card in every):
        fixable = every
    return tuple(sorted(fixable, key=_order)[:MAX_FIXES])


def _is_proved(card: Card) -> bool:
    return card.finding.proof is not None and card.finding.proof.verdict == PROVED


def _order(card: Card) -> tuple[bool, float, bool]:
    """Sorting is stable: within equals the worst finding stays first."""
    proof, fix = card.finding.proof, card.finding.fix
    gain = proof.gain if proof is not None and _is_proved(card) and proof.gain is not None else 0.0
    return not _is_proved(card), -gain, fix is not None and fix.safety == "advice-only"


def _anchor(finding: Finding, seen: Counter[str]) -> str:
    slug = (
        "".join(char if char.isascii() and char.isalnum() else "-" for char in finding.rule.lower()).strip("-")
        or "finding"
    )
    seen[slug] += 1
    return slug if seen[slug] == 1 else f"{slug}-{seen[slug]}"


def _card(
    finding: Finding,
    info: RuleInfo | None,
    anchor: str,
    chart: Drawing | None,
    following: tuple[Card, ...],
    suspects: tuple[tuple[str, str], ...],
    most_places: int = MAX_OTHERS,
) -> Card:
    measured = tuple(map(_measured, finding.root.evidence))
    others = finding.occurrences[1:]
    places = (finding.root, *others[:most_places])
    layers = dict.fromkeys(visible(place.location.layer or place.subject) for place in places)
    return Card(
        finding=finding,
        anchor=anchor,
        chart=chart,
        numbers=measured,
        sources=tuple(dict.fromkeys(item.because for item in measured if item.because)),
        has_bars=chart is None and any(item.bar for item in measured),
        others=len(others),
        shown_others=others[:most_places],
        layers=() if finding.kind in view.SINGLE_KINDS else tuple(layers),
        stage=finding.recipe.split(".", 1)[0],
        step=STEPS.get(finding.recipe),
        references=() if info is None else info.references,
        proof=None if finding.proof is None else proofs.shown(finding.proof),
        following=following,
        suspects=suspects,
    )


def _measured(evidence: Evidence) -> Measured:
    measured, expected = numbers.measured_and_expected(evidence)
    return Measured(
        numbers.fact_label(evidence.fact), measured, expected, evidence.because, charts.evidence_bar(evidence)
    )
