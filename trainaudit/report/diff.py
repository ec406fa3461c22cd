"""What changed between two records: new, fixed and unchanged findings. Stdlib only.

Occurrences are matched by rule, target and subject, as their fingerprints are: no number is compared, so a weight that moved a
little is not a new finding. What is gone counts as fixed only where the new record judged the rule on that target and did not set the
finding aside. Two models that have no layer in common are two models: nothing of one is found again, or fixed, in the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from trainaudit.frozen import frozen
from trainaudit.report import numbers, view
from trainaudit.report.escaping import visible
from trainaudit.report.prose import code, markdown
from trainaudit.result import Audit, Finding, Run, State

_JUDGED = (State.CLEAN, State.VIOLATED, State.NOT_APPLICABLE)
_Keys = frozenset[tuple[str, str]]


@frozen
class Change:
    """A finding, reduced to the occurrences that changed in the same way."""

    target: str
    finding: Finding


@frozen
class Difference:
    """`unseen` holds old findings that the new record neither judged again nor shows: not fixed, not still there. `strangers` are pairs of names of
    models that stand in one place and have no layer in common."""

    new: tuple[Change, ...]
    fixed: tuple[Change, ...]
    unchanged: tuple[Change, ...]
    unseen: tuple[Change, ...]
    strangers: tuple[tuple[str, str], ...] = ()

    @property
    def new_findings(self) -> tuple[Finding, ...]:
        return tuple(change.finding for change in self.new)


def paired(old: Run, new: Run) -> list[tuple[str, Audit | None, Audit | None]]:
    """Each target with its old and its new audit, those of the new record first. Two records of one target each are compared whatever the files
    are called."""
    before = {audit.target: audit for audit in old.audits}
    after = {audit.target: audit for audit in new.audits}
    if len(before) == len(after) == 1:
        before = dict(zip(after, before.values(), strict=True))
    targets = dict.fromkeys([*after, *before])
    return [(target, before.get(target), after.get(target)) for target in targets]


def compare(old: Run, new: Run) -> Difference:
    """Findings target by target."""
    fresh: list[Change] = []
    unchanged: list[Change] = []
    fixed: list[Change] = []
    unseen: list[Change] = []
    strangers: list[tuple[str, str]] = []
    for target, was, now in paired(old, new):
        if was and now and are_strangers(was, now):
            strangers.append((was.target, now.target))
            fresh += [Change(target, finding) for finding in view.live_findings(now)]
            unseen += [Change(was.target, finding) for finding in view.live_findings(was)]
            continue
        known = _keys(view.live_findings(was)) if was else frozenset()
        present = _keys(now.findings) if now else frozenset()
        judged = _judged(now) if now else frozenset()
        for finding in view.live_findings(now) if now else ():
            fresh += _part(target, finding, known, inside=False)
            unchanged += _part(target, finding, known, inside=True)
        for finding in view.live_findings(was) if was else ():
            (fixed if finding.rule in judged else unseen).extend(_part(target, finding, present, inside=False))
    return Difference(tuple(fresh), tuple(fixed), tuple(unchanged), tuple(unseen), tuple(strangers))


def are_strangers(was: Audit, now: Audit) -> bool:
    """Both records name layers, and none is in both."""
    before, after = ({row.name for row in audit.layers} for audit in (was, now))
    return bool(before and after) and before.isdisjoint(after)


def strangers_sentences(difference: Difference) -> list[str]:
    """What keeps findings of two models apart, a sentence for each pair of them."""
    return [
        f"{old if old == new else f'{old} and {new}'}: no layer's name is in both, so these count as two different models; nothing is said to be "
        "fixed, and what was found in the old one stands under “Not judged again”."
        for old, new in difference.strangers
    ]


def sentence(difference: Difference) -> str:
    """ "1 new finding, 2 fixed, 3 unchanged." """
    return (
        f"{numbers.count(len(difference.new), 'new finding')}, {len(difference.fixed)} fixed, {len(difference.unchanged)} unchanged"
        + (f", {len(difference.unseen)} not judged again" if difference.unseen else "")
        + "."
    )


def render_diff(difference: Difference, output_format: str = "full", *, width: int = 80, color: bool = False) -> str:
    """As text for a terminal ("full") or as "markdown"."""
    groups = (
        ("New", difference.new, "error"),
        ("Fixed", difference.fixed, "good"),
        ("Not judged again", difference.unseen, "note"),
        ("Unchanged", difference.unchanged, "dim"),
    )
    if output_format == "markdown":
        blocks = [f"## trainaudit: {sentence(difference)}"]
        blocks += [f"> {markdown(said)}" for said in strangers_sentences(difference)]
        for title, changes, _ in groups:
            lines = [
                f"- {change.finding.severity} {code(change.finding.rule)} in {code(change.target)} at {code(change.finding.root.subject)}"
                f"{_more(change)}: {markdown(change.finding.root.message)}"
                for change in changes
            ]
            blocks += [f"### {title}", "\n".join(lines)] if lines else []
        return "\n\n".join(blocks) + "\n"
    from trainaudit.report.lines import styled, wrapped

    lines = []
    for title, changes, style in groups:
        if changes:
            lines.append(styled(style, color, f"{title} ({len(changes)})"))
        for change in changes:
            head = f"  {change.finding.severity}[{change.finding.rule}] {change.target}: {change.finding.root.subject}{_more(change)}"
            lines += wrapped(visible(head), width, 4)
            lines += (
                wrapped(f"    {visible(change.finding.root.message)}", width, 4) if changes is difference.new else []
            )
        lines += [""] if changes else []
    for said in strangers_sentences(difference):
        lines += wrapped(visible(said), width, 2)
    return "\n".join([*lines, sentence(difference)]) + "\n"


def _keys(findings: Iterable[Finding]) -> _Keys:
    return frozenset((finding.rule, occurrence.subject) for finding in findings for occurrence in finding.occurrences)


def _judged(audit: Audit) -> frozenset[str]:
    return frozenset(outcome.rule for outcome in audit.outcomes if outcome.state in _JUDGED)


def _part(target: str, finding: Finding, keys: _Keys, *, inside: bool) -> Sequence[Change]:
    """The finding with the occurrences that are among the keys (or are not), or nothing."""
    kept = tuple(item for item in finding.occurrences if ((finding.rule, item.subject) in keys) is inside)
    return [Change(target, replace(finding, occurrences=kept))] if kept else []


def _more(change: Change) -> str:
    more = view.other_places(change.finding, 0)[1]
    return f" ({more})" if more else ""
