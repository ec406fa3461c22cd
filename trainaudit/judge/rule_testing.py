"""`trainaudit rule test`: the examples in rule files, and the bad and good models beside them. May import the rest of `judge` and
`measure`.

An example is a handful of facts about one subject, held against its rule by the real judge. A model pair is `<rule-id>/bad.py` and
`<rule-id>/good.py`, each with a function `build(path)` that writes an ONNX file: the rule fires on the first and not on the second. Those
two files are their author's own Python, and run only when their folder is given.
"""

from __future__ import annotations

import runpy
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.judge.expression import visible_fact
from trainaudit.judge.judging import judge
from trainaudit.judge.rule import Rule
from trainaudit.judge.rulefile import read_examples
from trainaudit.measure.catalog import FactSpec
from trainaudit.measure.facts import FactTable, FactValue, Subject, Unmeasured
from trainaudit.result import RuleOutcome, State
from trainaudit.suggestion import did_you_mean

EXPECTED = {
    "bad": State.VIOLATED,
    "good": State.CLEAN,
    "not_applicable": State.NOT_APPLICABLE,
    "not_measured": State.NOT_MEASURED,
}
"""Kind of example → what the judge must say about it."""

Audit = Callable[[Path], Collection[str]]
"""Model file → ids of the rules that fire on it."""
Build = Callable[[Path, Path], None]
"""Script, model file to write."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing tried: `what` names it ("bad example 2", "good.py"); `detail` says what went wrong, "" where it passed."""

    rule: str
    what: str
    detail: str = ""

    @property
    def passed(self) -> bool:
        return not self.detail


def check_examples(rule: Rule) -> tuple[Check, ...]:
    """Every example of a rule's file against the rule."""
    checks = []
    for kind, tables in read_examples(rule.path).items():
        for number, table in enumerate(tables, 1):
            what = f"{kind.replace('_', '-')} example {number}"
            try:
                outcome = judge_example(rule, table)
            except TrainauditError as error:
                checks.append(Check(rule.id, what, str(error)))
                continue
            reason = f" ({outcome.reason})" if outcome.reason else ""
            wanted = EXPECTED[kind]
            detail = (
                "" if outcome.state is wanted else f"expected {wanted.value}, came out {outcome.state.value}{reason}"
            )
            checks.append(Check(rule.id, what, detail))
    return tuple(checks)


def judge_example(rule: Rule, table: Mapping[str, Any]) -> RuleOutcome:
    """What the rule says about one subject with these facts. Raises `TrainauditError` where a fact or its value cannot be."""
    facts: dict[str, FactValue] = {}
    for name, value in _flat(table).items():
        spec = visible_fact(name, rule.subject)
        facts[name] = _value(spec, value)
    owner = "example"
    ids = {"model": "model", "layer": owner, rule.subject: "model" if rule.subject == "model" else owner}
    subjects = {kind: {name: Subject(kind, name, None if kind == "model" else owner, 0)} for kind, name in ids.items()}
    columns = {name: {ids[name.split(".", 1)[0]]: value} for name, value in facts.items()}
    (outcome,) = judge([rule], FactTable(subjects, columns), target="example", locations={}).outcomes
    return outcome


def check_models(rules: Iterable[Rule], folder: Path, audit: Audit, build: Build | None = None) -> tuple[Check, ...]:
    """The model pairs in `folder`: bad.py fires its rule, good.py does not. Rules without a pair are passed over (`rule lint` names
    them)."""
    build = build or build_model
    checks = []
    with tempfile.TemporaryDirectory(prefix="trainaudit-") as temporary:
        for rule in rules:
            for kind, fires in (("bad", True), ("good", False)):
                script = folder / rule.id / f"{kind}.py"
                if script.is_file():
                    model = Path(temporary) / f"{rule.id}-{kind}.onnx"
                    checks.append(Check(rule.id, script.name, _tried(rule, script, model, fires, audit, build)))
    return tuple(checks)


def build_model(script: Path, model: Path) -> None:
    """Run the script's `build(path)`."""
    build = runpy.run_path(str(script)).get("build")
    if not callable(build):
        raise TrainauditError(
            "bad-model-script", f"{script} has no function build(path).", "Write one that saves an ONNX file there."
        )
    build(model)


def summary(checks: Sequence[Check]) -> str:
    """One line for each failure, and a last one that counts."""
    failures = [check for check in checks if not check.passed]
    lines = [f"{check.rule}: {check.what}: {check.detail}" for check in failures]
    rules = len({check.rule for check in checks})
    noun = "rule" if rules == 1 else "rules"
    lines.append(
        f"{len(checks)} checks of {rules} {noun}: {len(checks) - len(failures)} passed, {len(failures)} failed."
    )
    return "\n".join(lines)


def _tried(rule: Rule, script: Path, model: Path, fires: bool, audit: Audit, build: Build) -> str:
    try:
        build(script, model)
    except Exception as error:  # the author's code: whatever it raises is the answer
        return f"the model could not be built ({type(error).__name__}: {error})"
    try:
        fired = audit(model)
    except TrainauditError as error:
        return f"the model could not be audited ({error})"
    if fires:
        return "" if rule.id in fired else f"the rule does not fire (fired: {', '.join(sorted(fired)) or 'none'})"
    return "the rule fires" if rule.id in fired else ""


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """Facts by full name; `layer.op = "relu"` without quotes is a table in TOML."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict) and "." not in key:
            flat.update({f"{key}.{name}": item for name, item in value.items()})
        else:
            flat[key] = value
    return flat


def _value(spec: FactSpec, value: object) -> FactValue:
    match value:
        case {"unmeasured": str(reason)}:
            return Unmeasured(reason)
        case bool() if spec.type == "boolean":
            return value
        case str() if spec.type == "word":
            if spec.words and value not in spec.words:
                hint = did_you_mean(value, spec.words) or f"Its words are: {', '.join(spec.words)}."
                raise TrainauditError("bad-example", f'{spec.name} is never "{value}".', hint)
            return value
        case int() if spec.type in ("count", "number") and not isinstance(value, bool):
            return value
        case float() if spec.type == "number":
            return value
    hint = 'A fact without a value is { unmeasured = "reason" }.'
    raise TrainauditError("bad-example", f"{spec.name} is a {spec.type}, and {value!r} is none.", hint)
