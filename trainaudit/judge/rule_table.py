"""A rule from the tables of its file, every key, name and type checked. May import the rest of `judge`, `recipe`, `result` and `errors`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainaudit.changes import KINDS
from trainaudit.errors import TrainauditError
from trainaudit.judge.expression import parse, parse_amount, visible_kinds
from trainaudit.judge.rule import NEVER, ChangeAdvice, Condition, FixAdvice, ProbeClauses, Rule
from trainaudit.judge.template import Template, parse_template
from trainaudit.judge.tree import NUMBER, Literal, Node
from trainaudit.measure.catalog import PROBED
from trainaudit.recipe import STEPS
from trainaudit.result import Reference, Severity, ThresholdInfo
from trainaudit.suggestion import did_you_mean

SEVERITIES = tuple(severity.value for severity in Severity)
CONFIDENCES = ("high", "medium", "low")
STATUSES = ("preview", "stable", "deprecated")
SAFETIES = ("advice-only", "changes-training", "changes-architecture")
PROBE_LEVELS = tuple(sorted(PROBED))

_KEYS = {
    "id": True, "name": True, "severity": True, "confidence": True, "status": True, "since": True, "recipe": True, "subject": True,
    "applies_to": False, "when": True, "message": True, "why": True, "thresholds": False, "fix": False, "references": False,
    "examples": False, "evidence": False, "probe": False, "follows": False,
}  # fmt: skip
_THRESHOLD_KEYS = {"value": True, "unit": True, "because": True}
_FIX_KEYS = {"summary": True, "safety": True, "torch": False, "recipe": False}
_CHANGE_KEYS = {"change": True, "where": False, "to": False, "amount": False}
_REFERENCE_KEYS = {"title": True, "url": True}
_PROBE_KEYS = {
    "applies_to": False, "when": False, "message": False, "severity": False, "confirmed_when": False, "withdrawn_when": False, "says": False,
}  # fmt: skip


def rule_of(table: dict[str, Any], path: Path) -> Rule:
    check_keys(table, _KEYS, "a rule")
    words = {key: _word(table, key) for key, required in _KEYS.items() if required}
    expect(words["id"] == path.stem, "id", f'the file\'s name, "{path.stem}"')
    _choice(words["severity"], SEVERITIES, "severity")
    _choice(words["confidence"], CONFIDENCES, "confidence")
    _choice(words["status"], STATUSES, "status")
    _choice(words["recipe"], STEPS, "recipe")
    subject = words["subject"]
    visible_kinds(subject)
    thresholds = _thresholds(table.get("thresholds", {}))
    limits: dict[str, float] = {name: threshold.value for name, threshold in thresholds.items()}  # type: ignore[misc]
    units = {name: threshold.unit for name, threshold in thresholds.items()}
    rule = replace(
        outline_of(words, path),
        applies_to=_condition(table, "applies_to", subject, limits),
        when=_condition(table, "when", subject, limits),
        message=parse_template(words["message"], subject, units),
        why=words["why"],
        thresholds=thresholds,
        fix=_fix(table["fix"], subject, units, limits) if "fix" in table else None,
        references=_references(table.get("references", [])),
        evidence=_word(table, "evidence") if "evidence" in table else "",
        follows=_follows(table.get("follows", [])),
        probe=_probe(table["probe"], subject, limits, units) if "probe" in table else None,
        is_outline=False,
    )
    if rule.evidence:
        _choice(rule.evidence, PROBE_LEVELS, "evidence")
        expect(rule.evidence == rule.evidence_level, "evidence", f'"{rule.evidence_level}", which its facts need')
    return rule


def outline_of(words: Mapping[str, str], path: Path) -> Rule:
    """The rule as far as the first lines of its file tell."""
    return Rule(
        id=words["id"],
        name=words["name"],
        category=path.parent.name,
        severity=Severity(words["severity"]),
        confidence=words["confidence"],
        status=words["status"],
        since=words["since"],
        recipe=words["recipe"],
        subject=words["subject"],
        applies_to=None,
        when=NEVER,
        message=Template(()),
        why="",
        thresholds={},
        fix=None,
        references=(),
        path=path,
        evidence=words.get("evidence", ""),
        is_outline=True,
    )


def _follows(rules: object) -> tuple[str, ...]:
    expect(
        isinstance(rules, list) and all(isinstance(rule, str) for rule in rules), "follows", "a list of ids of rules"
    )
    assert isinstance(rules, list)
    return tuple(rules)


def _condition(table: Mapping[str, Any], key: str, subject: str, limits: Mapping[str, float], where: str = "") -> Any:
    if key not in table:
        return None
    text = _word(table, key, where)
    return Condition(text, parse(text, subject, limits))


def _probe(table: object, subject: str, limits: Mapping[str, float], units: Mapping[str, str]) -> ProbeClauses:
    check_keys(table, _PROBE_KEYS, "probe")
    assert isinstance(table, dict)
    expect(("when" in table) == ("message" in table), "probe", "complete: `when` and `message` go together")
    expect(
        "when" in table or "withdrawn_when" in table, "probe", "complete: it has neither `when` nor `withdrawn_when`"
    )
    expect(
        "says" in table or "withdrawn_when" not in table,
        "probe",
        "complete: `says` gives the numbers of `withdrawn_when`",
    )
    if "severity" in table:
        _choice(_word(table, "severity", "probe"), SEVERITIES, "probe.severity")
    texts: dict[str, Any] = {
        key: parse_template(_word(table, key, "probe"), subject, units) for key in ("message", "says") if key in table
    }
    conditions = {
        key: _condition(table, key, subject, limits, "probe")
        for key in ("applies_to", "when", "confirmed_when", "withdrawn_when")
    }
    return ProbeClauses(**conditions, **texts, severity=Severity(table["severity"]) if "severity" in table else None)


def _thresholds(tables: object) -> dict[str, ThresholdInfo]:
    if not isinstance(tables, dict):
        raise wrong("thresholds", "tables, each under [thresholds.NAME]")
    thresholds = {}
    for name, table in tables.items():
        where = f"thresholds.{name}"
        expect(name.isidentifier() and name.islower(), where, "a lower-case name with underscores")
        check_keys(table, _THRESHOLD_KEYS, where)
        value = table["value"]
        number = (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and abs(value) < 1e300
            and math.isfinite(value)
        )
        expect(number, f"{where}.value", "a finite number")
        unit = table["unit"]
        expect(isinstance(unit, str), f"{where}.unit", 'a text, such as "ratio", "share" or ""')
        thresholds[name] = ThresholdInfo(name, value, unit, _word(table, "because", where))
    return thresholds


def _fix(table: object, subject: str, units: Mapping[str, str], limits: Mapping[str, float]) -> FixAdvice:
    check_keys(table, _FIX_KEYS, "fix")
    assert isinstance(table, dict)
    _choice(_word(table, "safety", "fix"), SAFETIES, "fix.safety")
    return FixAdvice(
        summary=parse_template(_word(table, "summary", "fix"), subject, units),
        safety=table["safety"],
        torch=parse_template(_word(table, "torch", "fix") if "torch" in table else "", subject, units),
        recipe=_recipe(table.get("recipe", []), table["safety"], subject, units, limits),
    )


def _recipe(
    tables: object, safety: str, subject: str, units: Mapping[str, str], limits: Mapping[str, float]
) -> tuple[ChangeAdvice, ...]:
    if not isinstance(tables, list):
        raise wrong("fix.recipe", "a list of changes, each under [[fix.recipe]]")
    expect(
        not tables or safety != "advice-only",
        "fix.safety",
        '"changes-training" or "changes-architecture", since a recipe stands below it',
    )
    return tuple(_change(table, subject, units, limits) for table in tables)


def _change(table: object, subject: str, units: Mapping[str, str], limits: Mapping[str, float]) -> ChangeAdvice:
    """One entry of a recipe, its parts as its kind has them (see `changes.KINDS`)."""
    check_keys(table, _CHANGE_KEYS, "fix.recipe")
    assert isinstance(table, dict)
    kind = _word(table, "change", "fix.recipe")
    _choice(kind, KINDS, "fix.recipe.change")
    known = KINDS[kind]
    for key, has, what in (
        ("where", known.subject, f"the name of a {known.subject}"),
        ("to", known.words, "a word"),
        ("amount", known.takes_amount, "a number or a computation"),
    ):
        if (key in table) != bool(has) and not (key == "amount" and kind == "initialize"):
            raise wrong(f"fix.recipe.{key}", f'{what}, which "{kind}" needs' if has else f'left out: "{kind}" has none')
    to = _template(table, "to", subject, units)
    if known.words and not to.facts:
        _choice(table["to"].strip(), known.words, "fix.recipe.to")
    amount = _amount(table["amount"], subject, limits) if "amount" in table else None
    return ChangeAdvice(kind, _template(table, "where", subject, units), to, amount)


def _template(table: Mapping[str, object], key: str, subject: str, units: Mapping[str, str]) -> Template:
    return parse_template(_word(table, key, "fix.recipe"), subject, units) if key in table else Template(())


def _amount(value: object, subject: str, limits: Mapping[str, float]) -> Node:
    """A number, or a text in the language of conditions that comes to one. A fact that is a word gives a number on each of its lines."""
    if isinstance(value, str) and value.strip():
        return parse_amount(value.strip(), subject, limits)
    expect(
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300,
        "fix.recipe.amount",
        'a finite number, or a computation such as "training.learning_rate / 10"',
    )
    assert isinstance(value, int | float)
    return Literal(float(value), NUMBER)


def _references(tables: object) -> tuple[Reference, ...]:
    if not isinstance(tables, list):
        raise wrong("references", "tables, each under [[references]]")
    for table in tables:
        check_keys(table, _REFERENCE_KEYS, "references")
    return tuple(Reference(_word(table, "title", "references"), _word(table, "url", "references")) for table in tables)


def check_keys(table: object, keys: Mapping[str, bool], where: str) -> None:
    """Keys of a table against the known ones (value True: required)."""
    if not isinstance(table, dict):
        raise wrong(where, "a table")
    for key in table:
        if key not in keys:
            hint = did_you_mean(key, keys) or f"Known keys: {', '.join(keys)}."
            raise TrainauditError("unknown-key", f'"{key}" is not a key of {where}.', hint)
    missing = [key for key, required in keys.items() if required and key not in table]
    if missing:
        raise TrainauditError("missing-key", f"{where[0].upper()}{where[1:]} has no {', '.join(missing)}.", "Add it.")


def _word(table: Mapping[str, object], key: str, where: str = "") -> str:
    value = table[key]
    if not isinstance(value, str) or not value.strip():
        raise wrong(f"{where}.{key}" if where else key, "a text that is not empty")
    return value.strip()


def _choice(word: str, known: Iterable[str], where: str) -> None:
    known = list(known)
    if word not in known:
        hint = did_you_mean(word, known) or f"Known: {', '.join(known)}."
        raise TrainauditError("unknown-word", f'{where} is "{word}", which is not known.', hint)


def expect(condition: bool, where: str, wanted: str) -> None:
    if not condition:
        raise wrong(where, wanted)


def wrong(where: str, wanted: str) -> TrainauditError:
    return TrainauditError("wrong-type", f"{where} is not {wanted}.", "Correct the file.")
