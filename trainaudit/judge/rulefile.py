"""Reads rule files: TOML, one rule each, nothing executable. May import the rest of `judge`, `recipe`, `result` and `errors`.

A file is refused as a whole, with its name and what to do, when a key is unknown or missing, a fact or a word does not exist, or types
do not fit. Its examples are read only by `read_examples`: they cost time and no audit needs them.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.judge.expression import parse, visible_kinds
from trainaudit.judge.rule import Condition, FixAdvice, Rule
from trainaudit.judge.template import parse_template
from trainaudit.recipe import STEPS
from trainaudit.result import Reference, Severity, ThresholdInfo
from trainaudit.suggestion import did_you_mean

MAX_BYTES = 128 * 1024
"""Size of one rule file. The built-in ones have about 3 KB."""

SEVERITIES = tuple(severity.value for severity in Severity)
CONFIDENCES = ("high", "medium", "low")
STATUSES = ("preview", "stable", "deprecated")
SAFETIES = ("advice-only", "changes-training", "changes-architecture")
EXAMPLES = ("bad", "good", "not_applicable", "not_measured")

_KEYS = {
    "id": True, "name": True, "severity": True, "confidence": True, "status": True, "since": True, "recipe": True, "subject": True,
    "applies_to": False, "when": True, "message": True, "why": True, "thresholds": False, "fix": False, "references": False,
    "examples": False,
}  # fmt: skip
_THRESHOLD_KEYS = {"value": True, "unit": True, "because": True}
_FIX_KEYS = {"summary": True, "safety": True, "torch": False, "recipe": False}
_CHANGE_KEYS = {"change": True, "to": False, "where": False}
_REFERENCE_KEYS = {"title": True, "url": True}


def load_rules(folders: Iterable[Path], overrides: Mapping[str, float] | None = None) -> tuple[Rule, ...]:
    """All rules of the folders, sorted by category and id, with the settings' thresholds (`"rule-id.name"` → number) in place.

    A folder holds rule files or folders of them; a rule's category is the name of the folder it lies in.
    """
    rules: dict[str, Rule] = {}
    for folder in folders:
        for path in rule_files(folder):
            rule = load_rule(path)
            other = rules.get(rule.id)
            if other is not None:
                raise TrainauditError(
                    "bad-rule", f'Two rule files have the id "{rule.id}": {other.path} and {path}.', "Rename one."
                )
            rules[rule.id] = rule
    found = tuple(sorted(rules.values(), key=lambda rule: (rule.category, rule.id)))
    return with_thresholds(found, overrides) if overrides else found


def rule_files(folder: Path) -> list[Path]:
    """The rule files in a folder and in the folders inside it, sorted. A path to one file gives that file."""
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise TrainauditError(
            "no-rules", f"There is no folder of rules at {folder}.", "Name a folder that holds rule files."
        )
    files: list[Path] = []
    for entry in sorted(folder.iterdir()):
        if entry.suffix == ".toml":
            files.append(entry)
        elif entry.is_dir():
            files.extend(sorted(entry.glob("*.toml")))
    if not files:
        raise TrainauditError("no-rules", f"{folder} holds no rule files.", "Rule files end in .toml.")
    return files


def load_rule(path: Path) -> Rule:
    """One rule, checked. Raises `TrainauditError` that names the file and what to do."""
    return parse_rule(_text(path), path)


def parse_rule(text: str, path: Path) -> Rule:
    """One rule from the text of its file; `path` gives its id and its category."""
    table = _toml(text, path)
    try:
        return _rule(table, path)
    except TrainauditError as error:
        raise TrainauditError("bad-rule", f"{path}: {error.what}", error.hint) from None


def read_examples(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The examples of a rule file: bad, good, not_applicable, not_measured → tables of facts, unchecked."""
    try:
        examples = tomllib.loads(_text(path)).get("examples", {})
        _check_keys(examples, dict.fromkeys(EXAMPLES, False), "examples")
        for kind, tables in examples.items():
            _expect(
                isinstance(tables, list) and all(isinstance(table, dict) for table in tables),
                f"examples.{kind}",
                "tables, each under [[examples.{kind}]]",
            )
    except tomllib.TOMLDecodeError as error:
        raise TrainauditError("bad-rule", f"{path} is not valid TOML: {error}.", "Correct the file.") from None
    except TrainauditError as error:
        raise TrainauditError("bad-rule", f"{path}: {error.what}", error.hint) from None
    return examples  # type: ignore[no-any-return]


def with_thresholds(rules: Sequence[Rule], overrides: Mapping[str, float]) -> tuple[Rule, ...]:
    """The rules with some of their thresholds replaced. Unknown names are an error with the nearest known one."""
    known = {f"{rule.id}.{name}" for rule in rules for name in rule.thresholds}
    for key in overrides:
        if key not in known:
            hint = did_you_mean(key, known) or "`trainaudit rule explain ID` prints a rule's thresholds."
            raise TrainauditError(
                "unknown-threshold", f'The settings override a threshold "{key}", which no rule has.', hint
            )
    changed = []
    for rule in rules:
        own = {
            name: replace(
                threshold, value=overrides[f"{rule.id}.{name}"], because="set in the settings", overridden=True
            )
            for name, threshold in rule.thresholds.items()
            if f"{rule.id}.{name}" in overrides
        }
        changed.append(replace(rule, thresholds={**rule.thresholds, **own}) if own else rule)
    return tuple(changed)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise TrainauditError(
                "bad-rule", f"{path} is larger than {MAX_BYTES // 1024} KB.", "A rule is one page of text."
            )
        return data.decode("utf-8").replace("\r\n", "\n")
    except OSError as error:
        raise TrainauditError("bad-rule", f"{path} cannot be read: {error.strerror}.", "Check the file.") from None
    except UnicodeDecodeError:
        raise TrainauditError("bad-rule", f"{path} is not UTF-8 text.", "Save it as UTF-8.") from None


def _toml(text: str, path: Path) -> dict[str, Any]:
    # Examples stand last in a file and take half of the time to parse. Cutting them off is safe: where the cut falls inside a text or a
    # list, what is left does not parse, and where another table follows them, nothing is cut.
    cut = text.find("\n[[examples.")
    if cut >= 0 and all(line.startswith("[[examples.") for line in text[cut:].split("\n") if line.startswith("[")):
        try:
            return tomllib.loads(text[: cut + 1])
        except (tomllib.TOMLDecodeError, RecursionError):
            pass
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise TrainauditError("bad-rule", f"{path} is not valid TOML: {error}.", "Correct the file.") from None


def _rule(table: dict[str, Any], path: Path) -> Rule:
    _check_keys(table, _KEYS, "a rule")
    words = {key: _word(table, key) for key, required in _KEYS.items() if required}
    _expect(words["id"] == path.stem, "id", f'the file\'s name, "{path.stem}"')
    _choice(words["severity"], SEVERITIES, "severity")
    _choice(words["confidence"], CONFIDENCES, "confidence")
    _choice(words["status"], STATUSES, "status")
    _choice(words["recipe"], STEPS, "recipe")
    subject = words["subject"]
    visible_kinds(subject)
    thresholds = _thresholds(table.get("thresholds", {}))
    limits: dict[str, float] = {name: threshold.value for name, threshold in thresholds.items()}  # type: ignore[misc]
    units = {name: threshold.unit for name, threshold in thresholds.items()}
    applies_to = _word(table, "applies_to") if "applies_to" in table else None
    return Rule(
        id=words["id"],
        name=words["name"],
        category=path.parent.name,
        severity=Severity(words["severity"]),
        confidence=words["confidence"],
        status=words["status"],
        since=words["since"],
        recipe=words["recipe"],
        subject=subject,
        applies_to=None if applies_to is None else Condition(applies_to, parse(applies_to, subject, limits)),
        when=Condition(words["when"], parse(words["when"], subject, limits)),
        message=parse_template(words["message"], subject, units),
        why=words["why"],
        thresholds=thresholds,
        fix=_fix(table["fix"], subject, units) if "fix" in table else None,
        references=_references(table.get("references", [])),
        path=path,
    )


def _thresholds(tables: object) -> dict[str, ThresholdInfo]:
    if not isinstance(tables, dict):
        raise _wrong("thresholds", "tables, each under [thresholds.NAME]")
    thresholds = {}
    for name, table in tables.items():
        where = f"thresholds.{name}"
        _expect(name.isidentifier() and name.islower(), where, "a lower-case name with underscores")
        _check_keys(table, _THRESHOLD_KEYS, where)
        value = table["value"]
        number = (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and abs(value) < 1e300
            and math.isfinite(value)
        )
        _expect(number, f"{where}.value", "a finite number")
        unit = table["unit"]
        _expect(isinstance(unit, str), f"{where}.unit", 'a text, such as "ratio", "share" or ""')
        thresholds[name] = ThresholdInfo(name, value, unit, _word(table, "because", where))
    return thresholds


def _fix(table: object, subject: str, units: Mapping[str, str]) -> FixAdvice:
    _check_keys(table, _FIX_KEYS, "fix")
    assert isinstance(table, dict)
    _choice(_word(table, "safety", "fix"), SAFETIES, "fix.safety")
    recipe = table.get("recipe", [])
    _expect(isinstance(recipe, list), "fix.recipe", "a list of changes")
    for change in recipe:
        _check_keys(change, _CHANGE_KEYS, "fix.recipe")
        _expect(all(isinstance(value, str) for value in change.values()), "fix.recipe", "a list of tables of texts")
    return FixAdvice(
        summary=parse_template(_word(table, "summary", "fix"), subject, units),
        safety=table["safety"],
        torch=parse_template(_word(table, "torch", "fix") if "torch" in table else "", subject, units),
        recipe=tuple(recipe),
    )


def _references(tables: object) -> tuple[Reference, ...]:
    if not isinstance(tables, list):
        raise _wrong("references", "tables, each under [[references]]")
    for table in tables:
        _check_keys(table, _REFERENCE_KEYS, "references")
    return tuple(Reference(_word(table, "title", "references"), _word(table, "url", "references")) for table in tables)


def _check_keys(table: object, keys: Mapping[str, bool], where: str) -> None:
    """Keys of a table against the known ones (value True: required)."""
    if not isinstance(table, dict):
        raise _wrong(where, "a table")
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
        raise _wrong(f"{where}.{key}" if where else key, "a text that is not empty")
    return value.strip()


def _choice(word: str, known: Iterable[str], where: str) -> None:
    known = list(known)
    if word not in known:
        hint = did_you_mean(word, known) or f"Known: {', '.join(known)}."
        raise TrainauditError("unknown-word", f'{where} is "{word}", which is not known.', hint)


def _expect(condition: bool, where: str, wanted: str) -> None:
    if not condition:
        raise _wrong(where, wanted)


def _wrong(where: str, wanted: str) -> TrainauditError:
    return TrainauditError("wrong-type", f"{where} is not {wanted}.", "Correct the file.")
