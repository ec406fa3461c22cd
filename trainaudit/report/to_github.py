"""GitHub workflow commands: annotations in the log of a run and beside the lines of a pull request. Stdlib only.

A step shows at most 10 errors and 10 warnings, so the worst come first and a last notice counts the rest. Escaping is as in
GitHub's own toolkit: `%`, carriage return and newline in messages, also `:` and `,` in properties.
"""

from __future__ import annotations

from trainaudit.report import anchors, numbers, view
from trainaudit.report.escaping import visible
from trainaudit.report.portable import portable
from trainaudit.result import Audit, Finding, Run

LIMIT = 10
"""Annotations of one kind that GitHub shows for one step."""

_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}


def render_github(run: Run) -> str:
    """One workflow command per line, the worst first, then the sentence that sums up: as a notice where something was left out."""
    run = portable(run)
    commands: dict[str, list[str]] = {"error": [], "warning": [], "notice": []}
    for target, reason in run.failures:
        message = visible(f"{anchors.repository_path(target)}: {reason}")
        commands["error"].append(_command("error", message, title="trainaudit: not audited"))
    for warning in run.warnings:
        commands["warning"].append(_command("warning", visible(warning), title="trainaudit"))
    for audit, finding in view.shown_findings(run.audits):
        kind = _COMMANDS[finding.severity]
        commands[kind].append(_annotation(audit, finding, kind))
    total = view.counts(run)
    summary = f"{view.problems_sentence(total)} {view.rules_sentence(total)}".rstrip()
    shown = [line for lines in commands.values() for line in lines[:LIMIT]]
    if any(len(lines) > LIMIT for lines in commands.values()):
        if len(commands["notice"]) >= LIMIT:  # the sentence is a notice too
            shown.pop()
        hidden = sum(map(len, commands.values())) - len(shown)
        summary = _command("notice", f"+{hidden} more. {summary}", title="trainaudit")
    return "\n".join([*shown, summary]) + "\n"


def _annotation(audit: Audit, finding: Finding, kind: str) -> str:
    root = finding.root
    path, line = anchors.anchor(audit, root.location)
    more = view.other_places(finding, 0)[1]
    lines = [visible(root.message) + (f" ({more})" if more else "")]
    for evidence in root.evidence:
        measured, expected = numbers.measured_and_expected(evidence)
        if expected:
            lines.append(f"{numbers.fact_label(evidence.fact)}: {measured}, expected {expected}")
    if finding.fix is not None:
        lines.append(f"Fix: {visible(finding.fix.summary)}")
    if anchors.source_of(root.location) is None and view.place(finding):
        lines.append(f"At {view.place(finding)} in {visible(audit.target)}")
    title = f"{visible(finding.rule)}: {visible(finding.name)}"
    return _command(kind, "\n".join(lines), file=path, line=str(line), title=title)


def _command(kind: str, message: str, **properties: str) -> str:
    written = ",".join(f"{name}={_property(visible(value))}" for name, value in properties.items())
    return f"::{kind} {written}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
