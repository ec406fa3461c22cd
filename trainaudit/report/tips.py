"""The evidence behind each tip of the recipe: findings, what experiments gave, and which rules were clean or not run. No markup lives here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainaudit.frozen import frozen
from trainaudit.report import ladder, probe_view, view
from trainaudit.report.cards import Card, all_cards
from trainaudit.result import Audit, Run, State
from trainaudit.trace.experiments import NOT_RUN
from trainaudit.trace.trace import Trace

EXPERIMENTS: Mapping[str, tuple[str, ...]] = {
    "2.fix-random-seed": ("same-seed",),
    "2.verify-loss-at-init": ("loss-at-init",),
    "2.input-independent-baseline": ("input-baseline",),
    "2.overfit-one-batch": ("target-shape", "overfit-one-batch"),
    "2.backprop-dependencies": ("batch-dependence", "time-dependence"),
    "3.adam-is-safe": ("learning-rate-range",),
    "4.decrease-batch-size": ("train-eval-gap",),
}
"""Step → the experiments of a probe that try it."""

DECREASING = "2.verify-decreasing-loss"

_ORDER = (
    State.VIOLATED,
    State.CLEAN,
    State.WITHDRAWN,
    State.IGNORED,
    State.FAILED,
    State.NOT_MEASURED,
    State.NOT_APPLICABLE,
)


@frozen
class Line:
    """One piece of evidence: what it says, the finding it leads to ("" where none), and the rules it stands on."""

    text: str
    anchor: str = ""
    rules: tuple[str, ...] = ()


@frozen
class Tip:
    """`mark` is the state, and of a violated tip the severity of the worst of its findings."""

    tip: ladder.Tip
    mark: str
    lines: tuple[Line, ...]


@frozen
class Rung:
    """A stage with the evidence of its tips; `mark` is as of a tip. `violated` are the titles of what is violated in it."""

    rung: ladder.Rung
    mark: str
    tips: tuple[Tip, ...]
    violated: tuple[str, ...]


def rungs(run: Run, audit: Audit, cards: Sequence[Card]) -> tuple[Rung, ...]:
    by_rule: dict[str, list[Card]] = {}
    for card in all_cards(cards):
        by_rule.setdefault(card.finding.rule, []).append(card)
    reasons = {outcome.rule: outcome.reason for outcome in audit.outcomes}
    return tuple(_rung(rung, audit, by_rule, reasons) for rung in ladder.ladder(run, audit))


def _rung(rung: ladder.Rung, audit: Audit, by_rule: Mapping[str, Sequence[Card]], reasons: Mapping[str, str]) -> Rung:
    tips = tuple(Tip(tip, _mark(tip, by_rule), tuple(_lines(tip, audit.trace, by_rule, reasons))) for tip in rung.tips)
    marks = {tip.mark for tip in tips}
    worst = next((mark for mark in (ladder.VIOLATED, "error", "warning", "note") if mark in marks), rung.state)
    titles = tuple(tip.tip.step.title for tip in tips if tip.tip.state == ladder.VIOLATED)
    return Rung(rung, worst, tips, titles)


def _mark(tip: ladder.Tip, by_rule: Mapping[str, Sequence[Card]]) -> str:
    if tip.state != ladder.VIOLATED:
        return tip.state
    found = [card.finding.severity for rule, _ in tip.rules for card in by_rule.get(rule, ())]
    return max(found, key=lambda severity: severity.rank).value if found else ladder.VIOLATED


def _lines(
    tip: ladder.Tip, trace: Trace | None, by_rule: Mapping[str, Sequence[Card]], reasons: Mapping[str, str]
) -> list[Line]:
    found = [
        Line(view.opening(card.finding.root.message, 1), card.anchor, (card.finding.rule,))
        for rule, state in tip.rules
        if state is State.VIOLATED
        for card in by_rule.get(rule, ())
    ]
    found += _experiments(tip.step.id, trace)
    groups: dict[tuple[State, str], list[str]] = {}
    for rule, state in sorted(tip.rules, key=lambda item: _ORDER.index(item[1])):
        reason = reasons.get(rule, "") if state in (State.FAILED, State.NOT_MEASURED) else ""
        groups.setdefault((state, reason), []).append(rule)
    found += [
        Line(f"{view.STATE_WORDS[state]}{f', {reason}' if reason else ''}:", "", tuple(rules))
        for (state, reason), rules in groups.items()
        if state is not State.VIOLATED
    ]
    return found


def _experiments(step: str, trace: Trace | None) -> list[Line]:
    if trace is None:
        return []
    rows = {row.name: row for row in probe_view.experiment_rows(trace)}
    shown = [rows[name] for name in EXPERIMENTS.get(step, ()) if name in rows]
    found = [
        Line(f"{row.title}: {row.result}" + (f" ({row.basis})" if row.basis else ""))
        for row in shown
        if row.state != NOT_RUN
    ]
    losses = [value for value in (() if trace.run is None else trace.run.loss) if value is not None]
    if step == DECREASING and len(losses) > 1:
        found.append(Line(f"loss of the run: {probe_view.loss_sentence(losses)}"))
    return found
