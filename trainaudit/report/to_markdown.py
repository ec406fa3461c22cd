"""GitHub-flavored Markdown for a job's summary. Stdlib only.

Written here and not from a template: the text is built of blocks so that it can be cut between two of them when it would be longer than
the place that shows it takes. Nothing from a model or a rule file can become markup (see `prose`).
"""

from __future__ import annotations

from collections.abc import Sequence

from trainaudit.report import ladder, numbers, proof_lines, view
from trainaudit.report.causes import Group, grouped
from trainaudit.report.portable import portable
from trainaudit.report.prose import cell, code, code_block, markdown
from trainaudit.result import Audit, Finding, Proof, Run, State

SUMMARY_LIMIT = 1_000_000
"""Bytes of a job summary: GitHub takes 1 MiB for one step."""

_SIGNS = {"error": "❌", "warning": "⚠️", "note": "ℹ️"}
_MARKER = "<!-- trainaudit -->"
"""A bot finds its own comment by it."""


def render_markdown(run: Run, *, limit: int = SUMMARY_LIMIT) -> str:
    """The run as Markdown of at most `limit` bytes; what does not fit is counted in the last line."""
    return _joined(_blocks(portable(run)), limit)


def _blocks(run: Run) -> list[str]:
    total = view.counts(run)
    blocks = [_MARKER, f"## trainaudit: {markdown(view.problems_sentence(total))}"]
    if run.failures:
        lines = [f"- ❌ {code(target)}: {markdown(reason)}" for target, reason in run.failures]
        blocks.append("\n".join([f"{numbers.count(len(run.failures), 'target')} could not be audited:", "", *lines]))
    blocks.append(markdown(view.rules_sentence(total)))
    hint, command = view.next_hint(run)
    if hint:
        blocks.append(f"Next: {markdown(hint)}: {code(command)}")
    blocks += [f"> {markdown(warning)}" for warning in run.warnings]
    for audit in run.audits:
        blocks += _audit_blocks(run, audit)
    return blocks


def _audit_blocks(run: Run, audit: Audit) -> list[str]:
    unrecognized = view.unrecognized_sentence(audit.model)
    model = markdown(view.model_sentence(audit.model)) + (f" ({markdown(unrecognized)})" if unrecognized else "")
    blocks = [f"### {code(audit.target)}", f"{markdown(view.verdict(run, audit))}", f"{model}."]
    if audit.trace is not None:
        blocks.append(_probe_block(audit))
    found = grouped(run, view.live_findings(audit))
    if found:
        rows = ["| | rule | where | measured | expected |", "|---|---|---|---|---|"]
        for group in found:
            rows += [_row(group.root), *(_row(below, "↳ ") for below in group.following)]
        blocks.append("\n".join(rows))
        blocks += [_details(group) for group in found]
    proved = proof_lines.together(audit)
    if proved:
        blocks.append(f"**Fixes.** {markdown(proved)}")
    blocks += [_folded("The recipe", _ladder_lines(run, audit))]
    for state, title in ((State.FAILED, "crashed"), (State.NOT_MEASURED, "not run")):
        groups = view.outcome_groups(audit, state)
        if groups:
            count = numbers.count(sum(len(rules) for *_, rules in groups), "rule")
            blocks.append(_folded(f"{count} {title}", [_reason(*group) for group in groups]))
    aside = [(finding, finding.ignored) for finding in view.ignored_findings(audit)]
    aside += view.withdrawn_findings(audit)
    aside += [(finding, "in the baseline") for finding in view.baseline_findings(audit)]
    if aside:
        lines = [
            f"- {code(finding.rule)} at {code(finding.root.subject)}: {markdown(reason)}" for finding, reason in aside
        ]
        blocks.append(_folded(f"{numbers.count(len(aside), 'finding')} set aside", lines))
    blocks += [f"> {markdown(warning)}" for warning in audit.warnings]
    return blocks


def _probe_block(audit: Audit) -> str:
    """What was run, and the experiments as a table."""
    from trainaudit.report import probe_view

    assert audit.trace is not None
    lines = [f"Probe: {markdown(probe_view.headline(audit.trace))}.", ""]
    lines += [f"- {label}: {markdown(text)}" for label, text in probe_view.rows(audit)]
    experiments = probe_view.experiment_rows(audit.trace)
    if experiments:
        lines += ["", "| experiment | state | result |", "|---|---|---|"]
        shown = ((row.title, row.state, row.result) for row in experiments)
        lines += ["| " + " | ".join(cell(markdown(text)) for text in texts) + " |" for texts in shown]
    return _folded("The probe", lines)


def _row(finding: Finding, mark: str = "") -> str:
    """`mark` stands before what may follow from the row above."""
    root = finding.root
    more = view.other_places(finding, 0)[1]
    where = (
        f"the {finding.kind}"
        if finding.kind in view.SINGLE_KINDS
        else code(root.subject) + (f" {more}" if more else "")
    )
    source = view.source(root.location)
    shown = [(numbers.fact_label(item.fact), *numbers.measured_and_expected(item)) for item in root.evidence]
    compared = [(f"{label} {measured}", expected) for label, measured, expected in shown if expected][:1]
    facts = ", ".join(f"{label}: {measured}" for label, measured, _ in shown)
    measured, expected = compared[0] if compared else (facts or "–", "–")
    cells = [
        f"{mark}{_SIGNS[finding.severity]} {finding.severity}",
        f"{code(finding.rule)}<br>{markdown(finding.name)}",
        where + (f"<br>{code(source)}" if source else ""),
        markdown(measured),
        markdown(expected),
    ]
    return "| " + " | ".join(cell(text) for text in cells) + " |"


def _details(group: Group) -> str:
    """The finding, and in it those that may follow from it."""
    lines = _detail_lines(group.root)
    if group.suspects:
        lines += ["", f"May follow from {', '.join(dict.fromkeys(code(one.rule) for one in group.suspects))}."]
    if group.following:
        count = numbers.count(len(group.following), "finding")
        lines += ["", f"**{count} that may follow from it:**", ""]
        lines += [_folded(_title(below), _detail_lines(below)) for below in group.following]
    return _folded(_title(group.root), lines)


def _title(finding: Finding) -> str:
    return f"{finding.severity}: {finding.name}"


def _detail_lines(finding: Finding) -> list[str]:
    lines = [markdown(finding.root.message), ""]
    if finding.probe:
        lines += [f"**Probe: {finding.probe}.** {markdown(finding.probe_note)}", ""]
    lines += [f"**Why.** {markdown(view.paragraph(finding.why))}"]
    if finding.fix is not None:
        summary = proof_lines.fix_summary(finding)
        lines += ["", f"**Fix** ({markdown(finding.fix.safety.replace('-', ' '))}). {markdown(summary)}"]
        code_shown = "" if proof_lines.is_refuted(finding) else finding.fix.code
        lines += ["", code_block(code_shown, "python")] if code_shown else []
    if finding.proof is not None:
        lines += ["", *_proof_lines(finding.proof)]
    names, more = view.other_places(finding, 10)
    if names:
        lines += ["", f"Also: {', '.join(map(code, names))}{f' {more}' if more else ''}"]
    return lines


def _proof_lines(proof: Proof) -> list[str]:
    predicted = proof_lines.predicted(proof)
    lines = [f"**Proof: {markdown(proof_lines.measured(proof))}**", "", f"- Made: {markdown(proof_lines.made(proof))}"]
    return [*lines, *([f"- Predicted: {markdown(predicted)}"] if predicted else [])]


def _ladder_lines(run: Run, audit: Audit) -> list[str]:
    rows = [
        f"| {rung.number}. {rung.title} | {ladder.WORDS[rung.state]} | {rung.summary} |"
        for rung in ladder.ladder(run, audit)
    ]
    return ["| stage | state | tips |", "|---|---|---|", *rows]


def _reason(reason: str, command: str, rules: Sequence[str]) -> str:
    text = f"- {', '.join(map(code, rules))}"
    text += f": {markdown(reason)}" if reason else ""
    return text + (f". Run {code(command)}" if command else "")


def _folded(title: str, lines: Sequence[str]) -> str:
    """A block that opens on a click. Inside `<summary>` Markdown is not read, so the title is escaped as HTML."""
    from html import escape

    from trainaudit.report.escaping import visible

    return "\n".join([f"<details><summary>{escape(visible(title))}</summary>", "", *lines, "", "</details>"])


def _joined(blocks: Sequence[str], limit: int) -> str:
    room = limit - 200
    kept: list[str] = []
    for block in blocks:
        room -= len(block.encode("utf-8", "backslashreplace")) + 2
        if room < 0:
            break
        kept.append(block)
    left = len(blocks) - len(kept)
    if left:
        kept.append(f"*{numbers.count(left, 'more part')} left out here: see the full report.*")
    return "\n\n".join(kept) + "\n"
