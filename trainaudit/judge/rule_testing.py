"""`trainaudit rule test`: the examples in rule files, and the bad and good models beside them. May import the rest of `judge` and
`measure`.

An example is a handful of facts about one subject, held against its rule by the real judge. A model pair is `<rule-id>/bad.py` and
`<rule-id>/good.py`, each with a function `build(path: str)` that writes an ONNX file: the rule fires on the first and not on the second. A
script may say LOSS, the loss to declare, and bad.py VIOLATES, the subjects on which the rule fires. Those two files are their author's own
Python, and run only when their folder is given.
"""

from __future__ import annotations

import runpy
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.judge.expression import visible_fact
from trainaudit.judge.judging import Judgment, judge
from trainaudit.judge.rule import Rule
from trainaudit.judge.rulefile import read_examples
from trainaudit.measure.catalog import BY_NAME, PROBED, SINGLE_KINDS, TRAINING, FactSpec
from trainaudit.measure.facts import Columns, FactTable, FactValue, Subject, Unmeasured
from trainaudit.result import State
from trainaudit.suggestion import did_you_mean

EXPECTED = {
    "bad": State.VIOLATED,
    "confirmed": State.VIOLATED,
    "withdrawn": State.WITHDRAWN,
    "good": State.CLEAN,
    "not_applicable": State.NOT_APPLICABLE,
    "not_measured": State.NOT_MEASURED,
}
"""Kind of example → what the judge must say about it."""

Audit = Callable[[Path, str | None], Mapping[str, Collection[str]]]
"""(model file, loss or None) → rules that fire on it, each with the subjects on which it does."""


@frozen
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
                judgment = judge_example(rule, table)
            except TrainauditError as error:
                checks.append(Check(rule.id, what, str(error)))
                continue
            (outcome,), wanted = judgment.outcomes, EXPECTED[kind]
            reason = f" ({outcome.reason})" if outcome.reason else ""
            detail = (
                "" if outcome.state is wanted else f"expected {wanted.value}, came out {outcome.state.value}{reason}"
            )
            if kind == "confirmed" and not detail and judgment.findings[0].probe != "confirmed":
                detail = "expected a finding that the probe confirms, and it said nothing"
            checks.append(Check(rule.id, what, detail))
    return tuple(checks)


def judge_example(rule: Rule, table: Mapping[str, Any]) -> Judgment:
    """What the rule says about one subject with these facts. Raises `TrainauditError` where a fact or its value cannot be.

    A probe was run where the rule declares its evidence or the example gives a fact of one.
    """
    facts: dict[str, FactValue] = {}
    for name, value in _flat(table).items():
        spec = visible_fact(name, rule.subject)
        facts[name] = _value(spec, value)
    owner = "example"
    ids = {"layer": owner, rule.subject: owner} | {kind: kind for kind in SINGLE_KINDS}
    subjects = {
        kind: {name: Subject(kind, name, None if kind in SINGLE_KINDS else owner, 0)} for kind, name in ids.items()
    }
    columns: Columns = {name: {ids[name.split(".", 1)[0]]: value} for name, value in facts.items()}
    if rule.evidence or any(BY_NAME[name].source in PROBED for name in facts):
        # What an example leaves out does not apply, as in a real table.
        for name in (*rule.needs, *rule.probe_needs):
            if BY_NAME[name].source in PROBED:
                columns.setdefault(name, {})
        columns.setdefault("training.evidence", {"training": TRAINING})
    return judge([rule], FactTable(subjects, columns), target="example", locations={})


def check_models(rules: Iterable[Rule], folder: Path, audit: Audit) -> tuple[Check, ...]:
    """The model pairs in `folder`: bad.py fires its rule, good.py does not. Rules without a pair are passed over (`rule lint` names
    them)."""
    checks = []
    with tempfile.TemporaryDirectory(prefix="trainaudit-") as temporary:
        for rule in rules:
            for kind in ("bad", "good"):
                script = folder / rule.id / f"{kind}.py"
                if script.is_file():
                    model = Path(temporary) / f"{rule.id}-{kind}.onnx"
                    checks.append(Check(rule.id, script.name, _tried(rule, script, model, audit)))
    return tuple(checks)


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


def _tried(rule: Rule, script: Path, model: Path, audit: Audit) -> str:
    """What is wrong with one model of a pair, "" where nothing is."""
    try:
        names = _run(script)
        if not callable(names.get("build")):
            return "it has no function build(path)"
        names["build"](str(model))
    except Exception as error:  # the author's code: whatever it raises is the answer
        return f"the model could not be built ({type(error).__name__}: {error})"
    try:
        fired = audit(model, names.get("LOSS"))
    except TrainauditError as error:
        return f"the model could not be audited ({error})"
    if script.stem == "good":
        return f"the rule fires on {_joined(fired[rule.id])}" if rule.id in fired else ""
    if rule.id not in fired:
        return f"the rule does not fire (fired: {_joined(fired)})"
    wanted = names.get("VIOLATES")
    if wanted is not None and set(wanted) != set(fired[rule.id]):
        return f"the rule fires on {_joined(fired[rule.id])}, not on {_joined(wanted)}"
    return ""


def _run(script: Path) -> dict[str, Any]:
    """The names that a script defines. It may import what lies in the working folder, as under `python -m`."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return runpy.run_path(str(script))
    finally:
        sys.path.remove(here)


def _joined(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


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
