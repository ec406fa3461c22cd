"""JUnit XML: a suite per target, a test case per rule. Valid XML 1.0 whatever names the model holds. Stdlib only."""

from __future__ import annotations

from trainaudit.report import numbers, view
from trainaudit.report.escaping import visible, visible_lines
from trainaudit.report.portable import portable
from trainaudit.result import Audit, Finding, RuleOutcome, Run, Severity, State

_SKIPPED = (State.NOT_APPLICABLE, State.NOT_MEASURED, State.IGNORED, State.WITHDRAWN)


def render_junit(run: Run) -> str:
    """Rules violated at or above `fail_on` are failures (from warning on where nothing shall fail the run), crashed ones errors; not
    applicable, not run and ignored ones are skipped, with the reason. Findings below that are a passed case's output. A target that could
    not be audited is a suite with one error."""
    run = portable(run)
    gate = Severity(run.fail_on if run.fail_on in tuple(Severity) else "warning").rank
    suites = [_suite(audit, gate) for audit in run.audits]
    suites += [
        (
            _element(
                "testsuite",
                _element("testcase", _element("error", "", message=reason), name="audit", classname="trainaudit"),
                name=target,
                tests=1,
                failures=0,
                errors=1,
                skipped=0,
            ),
            (1, 0, 1, 0),
        )
        for target, reason in run.failures
    ]
    totals = [sum(counts[index] for _, counts in suites) for index in range(4)]
    body = "".join(text for text, _ in suites)
    names = dict(zip(("tests", "failures", "errors", "skipped"), totals, strict=True))
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + _element("testsuites", body, name="trainaudit", **names)


def _suite(audit: Audit, gate: int) -> tuple[str, tuple[int, int, int, int]]:
    live: dict[str, list[Finding]] = {}
    for finding in view.live_findings(audit):
        live.setdefault(finding.rule, []).append(finding)
    cases, failures, errors, skipped = [], 0, 0, 0
    for outcome in audit.outcomes:
        findings = live.get(outcome.rule, [])
        failing = [finding for finding in findings if finding.severity.rank >= gate]
        content = ""
        if failing:
            failures += 1
            content = _element(
                "failure",
                _escaped("\n\n".join(map(_text, findings))),
                type=str(failing[0].severity),
                message=failing[0].root.message,
            )
        elif findings:
            content = _element("system-out", _escaped("\n\n".join(map(_text, findings))))
        elif outcome.state is State.FAILED:
            errors += 1
            content = _element("error", "", message=outcome.reason)
        elif outcome.state in _SKIPPED or outcome.state is State.VIOLATED:
            skipped += 1
            content = _element("skipped", "", message=_skip_reason(outcome))
        cases.append(_element("testcase", content, name=outcome.rule, classname=f"trainaudit.{audit.target}"))
    counts = (len(cases), failures, errors, skipped)
    text = _element(
        "testsuite",
        "".join(cases),
        name=audit.target,
        tests=counts[0],
        failures=failures,
        errors=errors,
        skipped=skipped,
        time=f"{sum(audit.timings.values()):.3f}",
    )
    return text, counts


def _skip_reason(outcome: RuleOutcome) -> str:
    if outcome.state is State.VIOLATED:
        return "in the baseline"
    command = f" (run: {outcome.command})" if outcome.command else ""
    reason = f": {outcome.reason}" if outcome.reason else ""
    return f"{view.STATE_WORDS[outcome.state]}{reason}{command}"


def _text(finding: Finding) -> str:
    """The finding as plain lines: message, place, numbers, reason, fix."""
    root = finding.root
    lines = [
        visible(root.message),
        " : ".join(part for part in (view.place(finding), view.source(root.location)) if part),
    ]
    for evidence in root.evidence:
        measured, expected = numbers.measured_and_expected(evidence)
        lines.append(f"{numbers.fact_label(evidence.fact)}: {measured}{f', expected {expected}' if expected else ''}")
    names, more = view.other_places(finding, 10)
    if names:
        lines.append(f"also: {', '.join(names)}{f' {more}' if more else ''}")
    lines.append(f"why: {view.paragraph(finding.why)}")
    if finding.fix is not None:
        lines += [f"fix: {visible(finding.fix.summary)}", *visible_lines(finding.fix.code)]
    return "\n".join(line for line in lines if line)


def _element(tag: str, content: str, **attributes: str | int) -> str:
    written = "".join(f' {name}="{_escaped(visible(str(value)))}"' for name, value in attributes.items())
    line = "\n" if content.startswith("<") else ""
    return f"<{tag}{written}>{line}{content}</{tag}>\n" if content else f"<{tag}{written}/>\n"


def _escaped(text: str) -> str:
    """Text for XML: the five special characters as entities. What XML forbids altogether was made visible before."""
    return (
        text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace('"', "&quot;")
        .replace("'", "&apos;")
    )
