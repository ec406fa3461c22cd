"""What a person reads in a terminal: `full`, `concise` and `statistics`. Plain strings; the caller writes them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping

from trainaudit.report import numbers, proof_lines, view
from trainaudit.report.causes import grouped
from trainaudit.report.escaping import shortened, visible, visible_lines
from trainaudit.report.lines import LABEL, cells, joined, labelled, styled, wrapped
from trainaudit.result import Audit, Finding, Run, State

_WIDE_LABEL = 24
"""Columns before the text of experiments."""
_SHOWN_PLACES = 3


def wants_color(choice: str, is_terminal: bool, environment: Mapping[str, str]) -> bool:
    """`choice` is auto, always or never. On auto NO_COLOR forbids, FORCE_COLOR forces (both when not empty; see no-color.org and
    force-color.org), and otherwise a terminal that is not "dumb" gets color."""
    if choice != "auto":
        return choice == "always"
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR", "") not in ("", "0", "false"):
        return True
    return is_terminal and environment.get("TERM") != "dumb"


def render_full(run: Run, *, width: int = 80, color: bool = False, verbose: bool = False, quiet: bool = False) -> str:
    """Every finding with its numbers, reason and fix, and in a line each those that may follow from it; then what was checked and what was not.

    Quiet leaves findings and failures alone; verbose adds the whole reason, the whole of what may follow, what passed, what was not run and why, and
    what was ignored.
    """
    width = max(width, 60)
    lines: list[str] = []
    folded = 0
    for target, reason in run.failures:
        lines += [*wrapped(f"{styled('error', color, 'error')}: {visible(target)}: {visible(reason)}", width, 2), ""]
    for audit in run.audits:
        if not quiet:
            lines += [*_model_lines(audit, width, color), *_probe_lines(audit, width, color), ""]
        for group in grouped(run, view.live_findings(audit)):
            lines += _finding_lines(audit, group.root, width, color, verbose)
            suspects = ", ".join(dict.fromkeys(f"{one.severity}[{one.rule}]" for one in group.suspects))
            lines += labelled("cause", f"may be {suspects}", width, color) if suspects else []
            for below in group.following:
                lines += labelled("may cause", _consequence(below), width, color)
            lines.append("")
            for below in group.following if verbose else ():
                lines += [*_finding_lines(audit, below, width, color, verbose), ""]
            folded += 0 if verbose else len(group.following)
        if verbose:
            lines += _outcome_lines(audit, width, color)
        lines += [] if quiet else _closing_lines(audit, width, color)
    if not quiet:
        for warning in run.warnings:
            lines += wrapped(f"{styled('warning', color, 'note')}: {visible(warning)}", width, 2)
        lines += _summary_lines(run, width, color, folded)
    while lines and not lines[-1]:
        lines.pop()
    return "\n".join(lines) + "\n" if lines else ""


def render_concise(run: Run, *, color: bool = False, quiet: bool = False) -> str:
    """One line per finding and per sentence, never wrapped: `target:layer: error[rule] message (high confidence, +36 more layers) file:line`."""
    lines = [
        f"{visible(target)}: {styled('error', color, 'error')}: {visible(reason)}" for target, reason in run.failures
    ]
    for audit, finding in view.shown_findings(run.audits):
        subject = "" if finding.kind in view.SINGLE_KINDS else f"{visible(finding.root.subject)}:"
        more = view.other_places(finding, 0)[1]
        source = view.source(finding.root.location)
        lines.append(
            f"{styled('bold', color, f'{visible(audit.target)}:{subject}')} {_tag(finding, color)} "
            f"{visible(finding.root.message)} ({visible(finding.confidence)} confidence{f', {more}' if more else ''})"
            f"{f'  {source}' if source else ''}"
        )
    if not quiet:
        for audit in run.audits:
            lines.append(f"{visible(audit.target)}: {view.model_sentence(audit.model)}")
            if audit.trace is not None:
                from trainaudit.report import probe_view

                lines.append(f"{visible(audit.target)}: probe: {probe_view.headline(audit.trace)}")
            proved = proof_lines.together(audit)
            lines += [f"{visible(audit.target)}: fixes: {proved}"] if proved else []
            lines += [f"{visible(audit.target)}: {visible(warning)}" for warning in audit.warnings]
        lines += [f"note: {visible(warning)}" for warning in run.warnings]
        lines += _summary_lines(run, sys.maxsize, color)
    return "\n".join(lines) + "\n" if lines else ""


def render_statistics(run: Run, *, color: bool = False) -> str:
    """One line per violated rule, most frequent first: places, rule, severity, name."""
    places: Counter[str] = Counter()
    models: Counter[str] = Counter()
    first: dict[str, Finding] = {}
    for _, finding in view.shown_findings(run.audits):
        places[finding.rule] += len(finding.occurrences)
        models[finding.rule] += 1
        first.setdefault(finding.rule, finding)
    if not places:
        return view.problems_sentence(view.counts(run)) + "\n"
    wide = max(len(f"{number:,}") for number in places.values())
    name = max(len(visible(rule)) for rule in places)
    ordered = sorted(places.items(), key=lambda item: (-item[1], item[0]))
    return "".join(
        f"{number:>{wide},}  {styled(first[rule].severity, color, f'{first[rule].severity:<7}')}  {visible(rule):<{name}}  "
        f"{visible(first[rule].name)}\n"
        for rule, number in ordered
    )


def _model_lines(audit: Audit, width: int, color: bool) -> list[str]:
    lines = wrapped(f"{visible(audit.target)}: {view.model_sentence(audit.model)}", width, 2)
    if color:
        name = visible(audit.target)
        lines[0] = lines[0].replace(name, styled("bold", color, name), 1)
    unrecognized = view.unrecognized_sentence(audit.model)
    return lines + (wrapped(f"  {unrecognized}", width, 2) if unrecognized else [])


def _closing_lines(audit: Audit, width: int, color: bool) -> list[str]:
    """What the fixes do together, and what limits what is said of the model."""
    proved = proof_lines.together(audit)
    lines = wrapped(proved, width, 2) if proved else []
    for warning in audit.warnings:
        lines += wrapped(f"{styled('warning', color, 'note')}: {visible(warning)}", width, 2)
    return [*lines, ""] if lines else []


def _probe_lines(audit: Audit, width: int, color: bool) -> list[str]:
    """What was run, and what the experiments gave; nothing where there was no probe."""
    if audit.trace is None:
        return []
    from trainaudit.report import probe_view

    lines = ["", *wrapped(f"probe: {probe_view.headline(audit.trace)}", width, 2)]
    lines[1] = lines[1].replace("probe", styled("bold", color, "probe"), 1)
    for label, text in probe_view.rows(audit):
        lines += labelled(label, text, width, color)
    rows = probe_view.experiment_rows(audit.trace)
    for row in rows:
        if row.state in ("ran", "cut"):
            lines += labelled(shortened(row.title, _WIDE_LABEL - 3), row.result, width, color, _WIDE_LABEL)
    for state in ("not run", "failed"):
        reasons: dict[str, list[str]] = {}
        for row in rows:
            if row.state == state:
                reasons.setdefault(row.result, []).append(row.title)
        text = "; ".join(f"{', '.join(titles)} ({reason})" for reason, titles in reasons.items())
        lines += labelled(state, text, width, color)
    return lines


def _finding_lines(audit: Audit, finding: Finding, width: int, color: bool, verbose: bool) -> list[str]:
    root = finding.root
    lines = _header(finding, width, color)
    where = [visible(audit.target), view.place(finding), view.source(root.location)]
    arrow = styled("arrow", color, " -->")
    lines += [f"{arrow if index == 0 else '    '} {line}" for index, line in enumerate(joined(where, " : ", width - 5))]
    lines += labelled("found", root.message, width, color)
    words = []
    for evidence in root.evidence:
        measured, expected = numbers.measured_and_expected(evidence)
        if not expected:
            words.append(f"{numbers.fact_label(evidence.fact)}: {measured}")
            continue
        label, what = numbers.evidence_label(evidence.fact)
        lines += _measured(label, f"{what} {measured}", expected, width, color)
        limit = view.paragraph(evidence.because) if verbose else view.opening(evidence.because)
        lines += labelled("limit", limit, width, color)
    lines += labelled("facts", "; ".join(words), width, color)
    if finding.probe:
        lines += labelled("probe", f"{finding.probe}: {finding.probe_note}", width, color)
    lines += labelled("why", view.paragraph(finding.why) if verbose else view.opening(finding.why), width, color)
    if finding.fix is not None:
        lines += labelled("fix", proof_lines.fix_summary(finding), width, color)
        code = "" if proof_lines.is_refuted(finding) else finding.fix.code
        lines += [" " * LABEL + line for line in visible_lines(code)] if code else []
    if finding.proof is not None:
        lines += labelled("change", proof_lines.made(finding.proof), width, color)
        lines += labelled("predicted", proof_lines.predicted(finding.proof), width, color)
        lines += labelled("proof", proof_lines.measured(finding.proof), width, color)
    names, more = view.other_places(finding, _SHOWN_PLACES)
    if names:
        lines += labelled("also", ", ".join(names) + (f" {more}" if more else ""), width, color)
    return lines


def _consequence(finding: Finding) -> str:
    """A finding under its cause: "warning[dead-relu] Units never fire: relu2 (+3 more layers)", and what became of its fix."""
    more = view.other_places(finding, 0)[1]
    where = "" if finding.kind in view.SINGLE_KINDS else f": {visible(finding.root.subject)}"
    tried = "" if finding.proof is None else f"; its fix, {proof_lines.measured(finding.proof)}"
    return f"{finding.severity}[{finding.rule}] {finding.name}{where}{f' ({more})' if more else ''}{tried}"


def _header(finding: Finding, width: int, color: bool) -> list[str]:
    """Tag and name; the confidence stands at the right edge of the first line, and the name wraps beside it."""
    plain = f"{finding.severity}[{visible(finding.rule)}]"
    confidence = f"confidence {shortened(finding.confidence, 12)}"
    text = f"{plain} {visible(finding.name)}"
    first = wrapped(text, width - len(confidence) - 2, 2)[0]
    gap = " " * max(2, width - cells(first) - len(confidence))
    lines = [f"{first.replace(plain, _tag(finding, color), 1)}{gap}{styled('dim', color, confidence)}"]
    rest = text[len(first) :].strip()
    return lines + (wrapped(f"  {rest}", width, 2) if rest else [])


def _measured(word: str, measured: str, expected: str, width: int, color: bool) -> list[str]:
    label = styled("dim", color, f"  {word:<{LABEL - 2}}")
    column = max(LABEL + 36, LABEL + cells(measured) + 2)
    if column + 10 + cells(expected) > width:
        return labelled(word, measured, width, color) + labelled("expected", expected, width, color)
    gap = " " * (column - LABEL - cells(measured))
    return [f"{label}{measured}{gap}{styled('dim', color, 'expected')}  {expected}"]


def _outcome_lines(audit: Audit, width: int, color: bool) -> list[str]:
    lines: list[str] = []
    for state in (State.CLEAN, State.NOT_APPLICABLE, State.NOT_MEASURED, State.FAILED):
        groups = view.outcome_groups(audit, state)
        if not groups:
            continue
        lines.append(
            styled("bold", color, f"{view.STATE_WORDS[state].capitalize()} ({sum(len(rules) for *_, rules in groups)})")
        )
        for reason, command, rules in groups:
            names = ", ".join(map(visible, rules))
            lines += wrapped(f"  {names}{f': {visible(reason)}' if reason else ''}", width, 4)
            lines += [f"    {visible(command)}"] if command else []
        lines.append("")
    aside = [(finding, f"ignored: {finding.ignored}") for finding in view.ignored_findings(audit)]
    aside += view.withdrawn_findings(audit)
    aside += [(finding, "in the baseline") for finding in view.baseline_findings(audit)]
    if aside:
        lines.append(styled("bold", color, f"Set aside ({len(aside)})"))
        for finding, reason in aside:
            until = f" (until {finding.ignored_until})" if finding.ignored_until else ""
            where = f" at {finding.root.subject}" if finding.kind not in view.SINGLE_KINDS else ""
            lines += wrapped(f"  {visible(f'{finding.rule}{where}: {reason}{until}')}", width, 4)
        lines.append("")
    return lines


def _summary_lines(run: Run, width: int, color: bool, folded: int = 0) -> list[str]:
    total = view.counts(run)
    lines: list[str] = []
    if total.models:
        sentence = view.problems_sentence(total)
        lines = wrapped(f"{sentence} {view.rules_sentence(total)}", width, 2)
        worst = next((name for name in ("error", "warning", "note") if getattr(total, name)), "good")
        head = " ".join(sentence.split(" ")[:3])
        lines[0] = lines[0].replace(head, styled(worst, color, head), 1)
    if folded:
        that = "one that may follow from another is" if folded == 1 else f"{folded:,} that may follow from others are"
        lines += wrapped(f"Of these, {that} named in one line; an audit with -v shows all of it.", width, 2)
    if total.failures:
        lines += wrapped(f"{numbers.count(total.failures, 'target')} could not be audited.", width, 2)
    hint, command = view.next_hint(run)
    return lines + (joined([f"Next: {hint}:", command], " ", width) if hint else [])


def _tag(finding: Finding, color: bool) -> str:
    return styled(finding.severity, color, f"{finding.severity}[{visible(finding.rule)}]")
