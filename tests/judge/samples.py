"""Rules and fact tables made to measure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainaudit.judge.rule import Rule
from trainaudit.judge.rulefile import parse_rule
from trainaudit.measure.facts import FactTable, FactValue, Subject

WHY = "A sentence about the mechanism and the consequence, long enough to be one. " * 3


def rule_text(
    rule_id: str = "sample-state",
    *,
    when: str = "layer.gain > limit",
    applies_to: str = "",
    subject: str = "layer",
    message: str = "{layer.name} has a gain of {layer.gain}, above {limit}.",
    thresholds: Mapping[str, float] | None = None,
    unit: str = "ratio",
    severity: str = "warning",
    status: str = "stable",
    fix: str = "nn.init.zeros_({layer.code}.bias)",
    examples: str = "",
    extra: str = "",
) -> str:
    """The text of a rule file."""
    lines = [
        f'id = "{rule_id}"',
        'name = "The sample is in a bad state"',
        f'severity = "{severity}"',
        'confidence = "high"',
        f'status = "{status}"',
        'since = "0.1"',
        'recipe = "2.init-well"',
        f'subject = "{subject}"',
        *([f"applies_to = {json.dumps(applies_to)}"] if applies_to else []),
        f"when = {json.dumps(when)}",
        f"message = {json.dumps(message)}",
        f'why = "{WHY}"',
        extra,
    ]
    for name, value in ({"limit": 2.0} if thresholds is None else thresholds).items():
        lines += [
            f"[thresholds.{name}]",
            f"value = {value}",
            f'unit = "{unit}"',
            'because = "A source that says so, 2017."',
        ]
    if fix:
        lines += ["[fix]", 'summary = "Repair {layer.name}."' if subject == "layer" else 'summary = "Repair it."']
        lines += ['safety = "changes-training"', f"torch = {json.dumps(fix)}"]
    lines += ["[[references]]", 'title = "A source"', 'url = "https://example.org/source"', examples]
    return "\n".join(lines) + "\n"


def make_rule(rule_id: str = "sample-state", *, category: str = "initialization", **parts: Any) -> Rule:
    """A rule as if read from rules/<category>/<id>.toml."""
    if parts.get("subject", "layer") != "layer":
        parts.setdefault("message", "{model.depth} is a sample message, with one fact in it.")
        parts.setdefault("fix", "")
    return parse_rule(rule_text(rule_id, **parts), Path("rules") / category / f"{rule_id}.toml")


def make_table(layers: int = 3, **columns: Mapping[str, FactValue]) -> FactTable:
    """A model with layers l0, l1, … and a parameter p0, p1, … in each; columns are given as layer__gain={"l0": 1.0}."""
    names = [f"l{index}" for index in range(layers)]
    subjects = {
        "model": {"model": Subject("model", "model", None, 0)},
        "layer": {name: Subject("layer", name, name, index) for index, name in enumerate(names)},
        "parameter": {
            f"p{name[1:]}": Subject("parameter", f"p{name[1:]}", name, index) for index, name in enumerate(names)
        },
        "output": {"y": Subject("output", "y", names[-1] if names else None, layers)},
        "input": {"x": Subject("input", "x", None, 0)},
        "block": {},
        "segment": {},
    }
    filled: dict[str, Mapping[str, FactValue]] = {
        "layer.name": {name: name for name in names},
        "layer.code": {name: f"model.{name}" for name in names},
    }
    filled.update({key.replace("__", ".", 1): column for key, column in columns.items()})
    return FactTable(subjects, filled)
