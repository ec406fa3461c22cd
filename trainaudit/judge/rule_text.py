"""`trainaudit rule list`, `rule explain` and `fact list` as text, Markdown and plain data. May import the rest of `judge`, `measure.catalog`,
`recipe` and `result`. Nothing here prints."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.judge.rule import ProbeClauses, Rule, change_text, template_text
from trainaudit.judge.rulefile import read_examples
from trainaudit.judge.template import format_value
from trainaudit.measure.catalog import BY_NAME, CATALOG, FactSpec
from trainaudit.recipe import STAGES, STEPS
from trainaudit.suggestion import did_you_mean

_WIDTH = 80


def find_rule(rules: Sequence[Rule], rule_id: str) -> Rule:
    """The rule of that id; else `TrainauditError` with the nearest one."""
    for rule in rules:
        if rule.id == rule_id:
            return rule
    hint = did_you_mean(rule_id, [rule.id for rule in rules]) or "`trainaudit rule list` prints all rules."
    raise TrainauditError("unknown-rule", f'There is no rule "{rule_id}".', hint)


def list_rules(rules: Sequence[Rule], form: str = "text") -> str | list[dict[str, Any]]:
    """A table of rules: `form` is text, markdown or json (plain data)."""
    if form == "json":
        return [rule_record(rule, examples=False) for rule in rules]
    header = ("rule", "category", "severity", "evidence", "status", "name")
    rows = [
        (rule.id, rule.category, rule.severity.value, rule.evidence_level, rule.status, rule.name) for rule in rules
    ]
    return _markdown_table(header, rows) if form == "markdown" else _table(header, rows)


def list_facts(form: str = "text", rules: Sequence[Rule] = ()) -> str | list[dict[str, Any]]:
    """The catalog as a table, with the rules that read each fact where `rules` are given."""
    readers: dict[str, list[str]] = {}
    for rule in rules:
        for name in rule.needs:
            readers.setdefault(name, []).append(rule.id)
    if form == "json":
        return [
            {"name": spec.name, "type": spec.type, "unit": spec.unit, "source": spec.source, "meaning": spec.meaning,
             "words": list(spec.words), "rules": readers.get(spec.name, [])}
            for spec in CATALOG
        ]  # fmt: skip
    header = ("fact", "type", "unit", "source", "meaning")
    rows = [(spec.name, spec.type, spec.unit, spec.source, _meaning(spec)) for spec in CATALOG]
    return _markdown_table(header, rows) if form == "markdown" else _table(header, rows)


def explain(rule: Rule, form: str = "text") -> str | dict[str, Any]:
    """Everything about one rule: what, why, condition, facts, thresholds with sources, fix, references, examples."""
    if form == "json":
        return rule_record(rule)
    return _explain_markdown(rule) if form == "markdown" else _explain_text(rule)


def rule_record(rule: Rule, examples: bool = True) -> dict[str, Any]:
    """A rule as plain data."""
    record: dict[str, Any] = {
        "id": rule.id,
        "name": rule.name,
        "category": rule.category,
        "severity": rule.severity.value,
        "confidence": rule.confidence,
        "status": rule.status,
        "since": rule.since,
        "recipe": rule.recipe,
        "subject": rule.subject,
        "evidence": rule.evidence_level,
        "follows": list(rule.follows),
        "applies_to": None if rule.applies_to is None else rule.applies_to.text,
        "when": rule.when.text,
        "message": template_text(rule.message),
        "probe": None if rule.probe is None else _clauses(rule.probe),
        "why": rule.why,
        "facts": list(rule.needs),
        "thresholds": [
            {"name": item.name, "value": item.value, "unit": item.unit, "because": item.because, "overridden": item.overridden}
            for item in rule.thresholds.values()
        ],
        "fix": None if rule.fix is None else {
            "summary": template_text(rule.fix.summary), "safety": rule.fix.safety, "torch": template_text(rule.fix.torch),
            "recipe": [change_text(advice) for advice in rule.fix.recipe],
        },
        "references": [{"title": item.title, "url": item.url} for item in rule.references],
    }  # fmt: skip
    if examples:
        record["examples"] = read_examples(rule.path)
    return record


def _clauses(probe: ProbeClauses) -> dict[str, str]:
    conditions = {name: getattr(probe, name) for name in ("applies_to", "when", "confirmed_when", "withdrawn_when")}
    texts = {"message": probe.message, "says": probe.says}
    found = {name: condition.text for name, condition in conditions.items() if condition is not None}
    return found | {name: template_text(text) for name, text in texts.items() if text is not None}


def _explain_text(rule: Rule) -> str:
    head = [f"{rule.name} ({rule.id})", *_traits(rule).split("\n")]
    parts = ["\n".join(map(_wrapped, head)), _wrapped(rule.why)]
    parts.append(_section("Reported when", _condition_lines(rule)))
    parts.append(_section("Facts", [f"{name}: {_meaning(BY_NAME[name])}" for name in rule.needs]))
    parts.append(_section("Thresholds", _threshold_lines(rule)))
    if rule.fix is not None:
        code = textwrap.indent(template_text(rule.fix.torch), "    ")
        parts.append(
            _section(f"Fix ({rule.fix.safety})", [template_text(rule.fix.summary)]) + (f"\n\n{code}" if code else "")
        )
        parts.append(_section("What a machine changes", [change_text(advice) for advice in rule.fix.recipe]))
    parts.append(_section("May follow from", [", ".join(rule.follows)] if rule.follows else []))
    parts.append(_section("References", [f"{item.title}\n{item.url}" for item in rule.references]))
    examples = [
        f"{kind.replace('_', ' ')}: {_facts(table)}"
        for kind, tables in read_examples(rule.path).items()
        for table in tables
    ]
    parts.append(_section("Examples", examples))
    return "\n\n".join(part for part in parts if part)


def _explain_markdown(rule: Rule) -> str:
    parts = [f"## {rule.id}", f"**{rule.name}**", _traits(rule), rule.why]
    parts.append("### Reported when\n\n```\n" + "\n".join(_condition_lines(rule)) + "\n```")
    parts.append(
        "### Facts\n\n"
        + _markdown_table(
            ("fact", "unit", "meaning"),
            [(f"`{name}`", BY_NAME[name].unit, _meaning(BY_NAME[name])) for name in rule.needs],
        )
    )
    if rule.thresholds:
        rows = [
            (f"`{item.name}`", format_value(item.value, item.unit), item.unit, item.because)
            for item in rule.thresholds.values()
        ]
        parts.append("### Thresholds\n\n" + _markdown_table(("threshold", "value", "unit", "source"), rows))
    if rule.fix is not None:
        code = template_text(rule.fix.torch)
        parts.append(
            f"### Fix ({rule.fix.safety})\n\n{template_text(rule.fix.summary)}"
            + (f"\n\n```python\n{code}\n```" if code else "")
        )
        if rule.fix.recipe:
            changes = [f"- `{change_text(advice)}`" for advice in rule.fix.recipe]
            parts.append("What a machine changes:\n\n" + "\n".join(changes))
    if rule.follows:
        parts.append("### May follow from\n\n" + ", ".join(f"`{item}`" for item in rule.follows))
    if rule.references:
        parts.append("### References\n\n" + "\n".join(f"- [{item.title}]({item.url})" for item in rule.references))
    examples = [
        f"- {kind.replace('_', ' ')}: `{_facts(table)}`"
        for kind, tables in read_examples(rule.path).items()
        for table in tables
    ]
    if examples:
        parts.append("### Examples\n\n" + "\n".join(examples))
    return "\n\n".join(parts)


_NEEDS = {
    "static": "the file alone", "loss": "the file and the loss (--loss)", "forward": "a forward pass (trainaudit probe, --forward-only will do)",
    "training": "a training run (trainaudit probe)", "data": "real data (trainaudit probe --data)",
}  # fmt: skip


def _traits(rule: Rule) -> str:
    step = STEPS[rule.recipe]
    stage = next(stage for stage in STAGES if stage.number == step.stage)
    needs = _NEEDS[rule.evidence_level]
    return (
        f"{rule.severity.value}, confidence {rule.confidence}, {rule.status} since {rule.since}; needs {needs}\n"
        f"Recipe, stage {stage.number} ({stage.title}): {step.title}"
    )


def _condition_lines(rule: Rule) -> list[str]:
    """The subject and its conditions, in the language of rule files."""
    lines = [f"subject: {rule.subject}"]
    if rule.applies_to is not None:
        lines.append(f"applies to: {' '.join(rule.applies_to.text.split())}")
    lines.append(f"when: {' '.join(rule.when.text.split())}")
    if rule.probe is not None:
        lines += [
            f"in a probe, {name.replace('_', ' ')}: {' '.join(text.split())}"
            for name, text in _clauses(rule.probe).items()
        ]
    return lines


def _threshold_lines(rule: Rule) -> list[str]:
    lines = []
    for item in rule.thresholds.values():
        unit = f" {item.unit}" if item.unit and item.unit != "share" else ""
        lines.append(f"{item.name} = {format_value(item.value, item.unit)}{unit}: {item.because}")
    return lines


def _meaning(spec: FactSpec) -> str:
    """The meaning and the words, unless they are the many names of ops."""
    return f"{spec.meaning} ({', '.join(spec.words)})" if 0 < len(spec.words) < 20 else spec.meaning


def _facts(table: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in table.items())


def _section(title: str, lines: Iterable[str]) -> str:
    body = [textwrap.indent("\n".join(_wrapped(part) for part in line.split("\n")), "  ") for line in lines]
    return "\n".join([title, *body]) if body else ""


def _wrapped(text: str) -> str:
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    return "\n\n".join(
        textwrap.fill(paragraph, _WIDTH - 2, break_long_words=False, break_on_hyphens=False) for paragraph in paragraphs
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header) - 1)]
    lines = [
        [*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]] for row in [header, *rows]
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(header), line(["---"] * len(header)), *(line(row) for row in rows)])
