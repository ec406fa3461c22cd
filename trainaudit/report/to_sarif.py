"""SARIF 2.1.0 as GitHub code scanning takes it: one run per target, only live findings, a physical location for every result.

Source: "SARIF support for code scanning" in the GitHub documentation, with its limits; the OASIS specification for the rest. Left out
on purpose: `security-severity` (it would turn a training fault into a security alert), ignored and baseline results (GitHub opens
alerts for them whatever `suppressions` says).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from trainaudit.report import anchors, numbers, view
from trainaudit.report.escaping import visible
from trainaudit.report.portable import portable
from trainaudit.report.prose import link, markdown
from trainaudit.result import Audit, Finding, Location, Occurrence, RuleInfo, Run, State

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
MAX_RUNS = 20
MAX_RESULTS = 25_000
MAX_DESCRIPTION = 1_024
MAX_NAME = 255
MAX_TAGS = 10
MAX_RELATED = 100

_PROBLEM = {"error": "error", "warning": "warning", "note": "recommendation"}
_HAS_RUN = (State.VIOLATED, State.CLEAN, State.IGNORED, State.NOT_APPLICABLE)


def render_sarif(run: Run) -> str:
    """The run as a SARIF file. More targets than GitHub takes runs are put into one run."""
    run = portable(run)
    groups: list[Sequence[Audit]] = [[audit] for audit in run.audits]
    if len(groups) > MAX_RUNS or not groups:
        groups = [run.audits]
    runs = [_run(run, group, is_first=index == 0) for index, group in enumerate(groups)]
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": runs}, indent=1, allow_nan=False) + "\n"


def _run(run: Run, audits: Sequence[Audit], *, is_first: bool) -> dict[str, Any]:
    ran = {outcome.rule for audit in audits for outcome in audit.outcomes if outcome.state in _HAS_RUN}
    rules = [rule for rule in run.rules if rule.id in ran]
    index = {rule.id: number for number, rule in enumerate(rules)}
    results = _results(audits, index)
    return {
        "tool": {
            "driver": {
                "name": "trainaudit",
                "semanticVersion": run.version,
                "version": run.version,
                "rules": [_rule(rule) for rule in rules],
            }
        },
        "automationDetails": {"id": _category(audits)},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "The root of the repository."}}},
        "artifacts": [_artifact(audit) for audit in audits],
        "invocations": [_invocation(run, audits, is_first, len(results))],
        "results": results[:MAX_RESULTS],
    }


def _category(audits: Sequence[Audit]) -> str:
    """`trainaudit/<mode>/<target>/`: with the slash at its end the whole id is the category, not a run's name."""
    mode = "probe" if any("training" in audit.evidence for audit in audits) else "static"
    if len(audits) != 1:
        return f"trainaudit/{mode}/"
    slug = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in _path(audits[0]))
    return f"trainaudit/{mode}/{slug[-200:]}/"


def _path(audit: Audit) -> str:
    return anchors.repository_path(audit.target)


def _rule(rule: RuleInfo) -> dict[str, Any]:
    tags = ["training-health", rule.category, f"recipe-{rule.recipe.split('.')[0]}", rule.evidence_level, rule.status]
    text, rich = _help(rule)
    described: dict[str, Any] = {
        "id": visible(rule.id),
        "name": visible(rule.id)[:MAX_NAME],
        "shortDescription": {"text": _limited(rule.name)},
        "fullDescription": {"text": _limited(view.paragraph(rule.why) or rule.name)},
        "help": {"text": text, "markdown": rich},
        "defaultConfiguration": {"level": str(rule.severity)},
        "properties": {
            "precision": rule.confidence if rule.confidence in ("high", "medium", "low") else "medium",
            "problem.severity": _PROBLEM[rule.severity],
            "tags": list(dict.fromkeys(visible(tag) for tag in tags if tag))[:MAX_TAGS],
        },
    }
    if rule.references and rule.references[0].url.startswith("https://"):
        described["helpUri"] = quote(rule.references[0].url, safe=":/?#[]@!$&'()*+,;=%-._~")
    return described


def _help(rule: RuleInfo) -> tuple[str, str]:
    """Why, fix, thresholds with their sources, references: as text and as Markdown."""
    thresholds = [
        f"{threshold.name} = {numbers.scalar(threshold.value, threshold.unit)}: {threshold.because}"
        for threshold in rule.thresholds
    ]
    why = [" ".join(part.split()) for part in rule.why.split("\n\n")]
    text = "\n\n".join(
        visible(part) for part in [*why, f"Fix: {rule.fix_summary}" if rule.fix_summary else "", *thresholds] if part
    )
    parts = [f"**{markdown(rule.name)}**", *(markdown(part) for part in why)]
    if rule.fix_summary:
        parts.append(f"**Fix.** {markdown(rule.fix_summary)}")
    if thresholds:
        parts.append("\n".join(f"- {markdown(line)}" for line in thresholds))
    if rule.references:
        parts.append("\n".join(f"- {link(item.title, item.url)}" for item in rule.references))
    return text or visible(rule.name), "\n\n".join(part for part in parts if part)


def _results(audits: Sequence[Audit], index: dict[str, int]) -> list[dict[str, Any]]:
    seen: Counter[tuple[str, str]] = Counter()
    results = []
    for audit, finding in sorted(view.shown_findings(audits), key=lambda pair: -pair[1].severity.rank):
        for occurrence in anchors.shown_occurrences(finding):
            key = anchors.identity(audit, finding, occurrence)
            seen[finding.rule, key] += 1
            result = _result(audit, finding, occurrence, f"{key}:{seen[finding.rule, key]}")
            if finding.rule in index:
                result["ruleIndex"] = index[finding.rule]
            results.append(result)
    return results


def _result(audit: Audit, finding: Finding, occurrence: Occurrence, fingerprint: str) -> dict[str, Any]:
    is_group = len(finding.occurrences) > anchors.MANY
    message = visible(occurrence.message)
    if is_group:
        names, more = view.other_places(finding, 5)
        message += f" The same holds for {', '.join(names)}{f' {more}' if more else ''}."
    measured = [(*numbers.measured_and_expected(evidence), evidence) for evidence in occurrence.evidence]
    compared = [
        f"{numbers.fact_label(item.fact)} {value}, expected {wanted}" for value, wanted, item in measured if wanted
    ]
    text = f"{message} ({'; '.join(compared)})" if compared else message
    uri, line = anchors.anchor(audit, occurrence.location)
    result: dict[str, Any] = {
        "ruleId": visible(finding.rule),
        "level": str(finding.severity),
        "kind": "fail",
        "message": {"text": _message(text)},
        "locations": [{**_physical(uri, line), "logicalLocations": _logical(occurrence.location, occurrence.subject)}],
        "partialFingerprints": {"primaryLocationLineHash": fingerprint},
        "properties": {
            "confidence": visible(finding.confidence),
            "recipe": visible(finding.recipe),
            "evidence": [
                {
                    "fact": visible(item.fact),
                    "measured": value,
                    "expected": wanted,
                    "source": visible(item.because),
                }
                for value, wanted, item in measured
            ],
        },
    }
    related = _related(audit, finding, occurrence, is_group)
    if related:
        result["relatedLocations"] = related
    return result


def _related(audit: Audit, finding: Finding, occurrence: Occurrence, is_group: bool) -> list[dict[str, Any]]:
    """The model file, where the result is pinned to the source; the other layers of a group."""
    related: list[dict[str, Any]] = []
    if anchors.source_of(occurrence.location):
        related.append({**_physical(*anchors.place_of_model(audit)), "message": {"text": "the audited model"}})
    for other in finding.occurrences[1:MAX_RELATED] if is_group else ():
        related.append(
            {
                **_physical(*anchors.anchor(audit, other.location)),
                "logicalLocations": _logical(other.location, other.subject),
                "message": {"text": _message(visible(other.subject))},
            }
        )
    return [{"id": number, **location} for number, location in enumerate(related[:MAX_RELATED], 1)]


def _physical(path: str, line: int) -> dict[str, Any]:
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": _uri(path), "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": line, "startColumn": 1, "endLine": line, "endColumn": 1},
        }
    }


def _logical(location: Location, subject: str) -> list[dict[str, Any]]:
    """The layer by its name, and the node of the file that it came from."""
    name = visible(location.layer or subject)
    logical = [{"name": name.rsplit(".", 1)[-1] or name, "fullyQualifiedName": name, "kind": "member"}]
    if location.node and visible(location.node) != name:
        node = visible(location.node)
        logical.append({"name": node, "fullyQualifiedName": node, "kind": "object"})
    return logical


def _artifact(audit: Audit) -> dict[str, Any]:
    artifact: dict[str, Any] = {
        "location": {"uri": _uri(anchors.place_of_model(audit)[0]), "uriBaseId": "%SRCROOT%"},
        "length": audit.model.size,
        "mimeType": "text/x-python" if audit.model.file.endswith(".py") else "application/octet-stream",
        "roles": ["analysisTarget"],
    }
    if audit.model.sha256:
        artifact["hashes"] = {"sha-256": audit.model.sha256}
    return artifact


def _invocation(run: Run, audits: Sequence[Audit], is_first: bool, results: int) -> dict[str, Any]:
    notes: list[dict[str, Any]] = []
    for audit in audits:
        for outcome in audit.outcomes:
            if outcome.state is State.FAILED:
                notes.append(_notification("error", f"The rule {outcome.rule} crashed: {outcome.reason}", outcome.rule))
            elif outcome.state is State.NOT_MEASURED:
                notes.append(
                    _notification("note", f"The rule {outcome.rule} was not run: {outcome.reason}", outcome.rule)
                )
        notes += [_notification("warning", warning) for warning in audit.warnings]
    notes += [_notification("warning", warning) for warning in run.warnings] if is_first else []
    failures = run.failures if is_first else ()
    notes += [_notification("error", f"{anchors.repository_path(target)}: {reason}") for target, reason in failures]
    if results > MAX_RESULTS:
        notes.append(
            _notification(
                "warning", f"{results - MAX_RESULTS} results were left out: a run holds at most {MAX_RESULTS}."
            )
        )
    return {
        "executionSuccessful": not failures,
        "commandLine": visible(run.command),
        "toolExecutionNotifications": notes,
    }


def _notification(level: str, text: str, rule: str = "") -> dict[str, Any]:
    notification: dict[str, Any] = {"level": level, "message": {"text": _message(visible(text))}}
    if rule:
        notification["associatedRule"] = {"id": visible(rule)}
    return notification


def _uri(path: str) -> str:
    return quote(path.encode("utf-8", "backslashreplace"), safe="/-._~")


def _message(text: str) -> str:
    """Plain message text: in SARIF `[text](target)` is a link and `{0}` a placeholder, so what might be read so is escaped."""
    if "](" in text:
        text = text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    if "{" in text and any(f"{{{digit}" in text for digit in "0123456789"):
        text = text.replace("{", "{{").replace("}", "}}")
    return text


def _limited(text: str) -> str:
    text = visible(text)
    return text if len(text) <= MAX_DESCRIPTION else f"{text[: MAX_DESCRIPTION - 1]}…"
