"""Reads rule files: TOML, one rule each, nothing executable. May import the rest of `judge`, `recipe`, `result` and `errors`.

A file is refused as a whole, with its name and what to do, when a key is unknown or missing, a fact or a word does not exist, or types
do not fit. Its examples are read only by `read_examples`: they cost time and no audit needs them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.judge.parsed import Table, parsed_tables
from trainaudit.judge.rule import Rule
from trainaudit.judge.rule_table import PROBE_LEVELS, SEVERITIES, check_keys, expect, outline_of, rule_of
from trainaudit.suggestion import did_you_mean

Parse = Callable[[str], Table]

MAX_BYTES = 128 * 1024
"""Size of one rule file. The built-in ones have about 3 KB."""

EXAMPLES = ("bad", "good", "not_applicable", "not_measured", "confirmed", "withdrawn")

_HEAD_LINES = 9
_HEAD = re.compile(
    r'^(id|name|severity|confidence|status|since|recipe|subject|evidence) = "([^"\\\n]*)"$', re.MULTILINE
)


def load_rules(
    folders: Iterable[Path], overrides: Mapping[str, float] | None = None, *, probed: bool = True
) -> tuple[Rule, ...]:
    """All rules of the folders, sorted by category and id, with the settings' thresholds (`"rule-id.name"` → number) in place.

    A folder holds rule files or folders of them; a rule's category is the name of the folder it lies in. Without `probed`, for audits of
    a file alone, of what only a probe can judge no more is read than the outline.
    """
    probed = probed or bool(overrides)
    rules: dict[str, Rule] = {}
    tables = parsed_tables()
    for folder in folders:
        for path in rule_files(folder):
            rule = parse_rule(_text(path), path, tables.parse, probed=probed)
            other = rules.get(rule.id)
            if other is not None:
                raise TrainauditError(
                    "bad-rule", f'Two rule files have the id "{rule.id}": {other.path} and {path}.', "Rename one."
                )
            rules[rule.id] = rule
    tables.keep()
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


def parse_rule(text: str, path: Path, parse: Parse | None = None, *, probed: bool = True) -> Rule:
    """One rule from the text of its file; `path` gives its id and its category, `parse` the table of a TOML text."""
    head = {} if probed else dict(_HEAD.findall(text, 0, text.find("\nwhen = ")))
    is_plain = len(head) == _HEAD_LINES and head["evidence"] in PROBE_LEVELS and head["severity"] in SEVERITIES
    table = head if is_plain else _toml(text, path, parse or _loads, probed)
    try:
        return outline_of(table, path) if table is head else rule_of(table, path)
    except TrainauditError as error:
        raise TrainauditError("bad-rule", f"{path}: {error.what}", error.hint) from None


def read_examples(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The examples of a rule file: bad, good, not_applicable, not_measured → tables of facts, unchecked."""
    try:
        examples = _loads(_text(path)).get("examples", {})
        check_keys(examples, dict.fromkeys(EXAMPLES, False), "examples")
        for kind, tables in examples.items():
            expect(
                isinstance(tables, list) and all(isinstance(table, dict) for table in tables),
                f"examples.{kind}",
                "tables, each under [[examples.{kind}]]",
            )
    except ValueError as error:
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


def _loads(text: str) -> Table:
    import tomllib

    return tomllib.loads(text)


def _toml(text: str, path: Path, parse: Parse, probed: bool) -> Table:
    # Examples stand last in a file and take half of the time to parse. Cutting them off is safe: where the cut falls inside a text or a
    # list, what is left does not parse, and where another table follows them, nothing is cut. What a probe says stands before them.
    cut = text.find("\n[[examples.")
    if not probed:
        before = text.find("\n[probe]\n", 0, cut)
        cut = cut if before < 0 else before
    last = ("[[examples.",) if probed else ("[[examples.", "[probe]")
    if cut >= 0 and all(line.startswith(last) for line in text[cut:].split("\n") if line.startswith("[")):
        try:
            return parse(text[: cut + 1])
        except (ValueError, RecursionError):
            pass
    try:
        return parse(text)
    except (ValueError, RecursionError) as error:
        raise TrainauditError("bad-rule", f"{path} is not valid TOML: {error}.", "Correct the file.") from None
