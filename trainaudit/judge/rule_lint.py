"""`trainaudit rule lint`: what makes a rule file good beyond being valid. May import the rest of `judge`, `measure.catalog` and `result`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.judge.rule import Rule, template_text
from trainaudit.judge.rule_table import PROBE_LEVELS
from trainaudit.judge.rulefile import load_rule, read_examples, rule_files
from trainaudit.judge.tree import facts_in, thresholds_in
from trainaudit.measure.catalog import CATALOG

NAME_LENGTH = (10, 90)
MESSAGE_LENGTH = (30, 400)
WHY_LENGTH = (120, 2500)
BECAUSE_LENGTH = (20, 400)

_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_COMMANDS = frozenset(
    [
        "no",
        "not",
        "never",
        "always",
        "avoid",
        "use",
        "check",
        "add",
        "remove",
        "fix",
        "do",
        "dont",
        "must",
        "should",
        "prefer",
        "require",
        "disallow",
        "forbid",
        "ensure",
        "enforce",
        "is",
        "has",
        "detect",
        "find",
        "warn",
    ]
)
"""First words that make an id an order or a sentence. An id is the noun of the bad state: `missing-normalization`, not `no-normalization`."""
_SCOLDING = re.compile(r"\bshould(n't)?\b|!(?![=\[])|\bplease\b", re.IGNORECASE)
_TODO = re.compile(r"\bTODO\b")


@frozen
class Problem:
    """`where` is a path, or "catalog"."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def lint(
    folders: Sequence[Path], *, tests: Path | None = None, report_facts: Collection[str] | None = None
) -> tuple[Problem, ...]:
    """All that is wrong with the rule files in some folders.

    With `tests` (the folder of `<rule-id>/bad.py` and `good.py`), pairs that are missing or have no rule are named. With `report_facts` (the
    facts that reports read), facts that neither they nor a rule reads are named: give it only with all built-in rules.
    """
    problems: list[Problem] = []
    rules: dict[str, Rule] = {}
    for folder in folders:
        for path in rule_files(folder):
            try:
                rule = load_rule(path)
                examples = read_examples(path)
            except TrainauditError as error:
                problems.append(Problem(str(path), str(error).removeprefix(f"{path}: ")))
                continue
            if rule.id in rules:
                problems.append(Problem(str(path), f"the id stands in {rules[rule.id].path} already"))
            rules[rule.id] = rule
            problems += [Problem(str(path), what) for what in _faults(rule, examples.keys())]
    if tests is not None:
        problems += _pair_faults(rules, tests)
    if report_facts is not None:
        read = {name for rule in rules.values() for name in _facts_read(rule)} | set(report_facts)
        problems += [
            Problem("catalog", f"{spec.name} is read by no rule and no report")
            for spec in CATALOG
            if spec.name not in read
        ]
    return tuple(problems)


def _faults(rule: Rule, examples: Collection[str]) -> Iterator[str]:
    if not _ID.fullmatch(rule.id):
        yield "the id is not in kebab-case"
    if rule.id.split("-")[0] in _COMMANDS:
        yield f'the id starts with "{rule.id.split("-")[0]}": it names the bad state with a noun'
    if not _ID.fullmatch(rule.category):
        yield f'the folder "{rule.category}" is no category: rules lie in <category>/<id>.toml'
    yield from _length("name", rule.name, NAME_LENGTH)
    if rule.name.endswith("."):
        yield "the name ends in a full stop"
    if not rule.name[0].isupper() and not rule.name[0].isdigit():
        yield "the name does not start with a capital"
    message = template_text(rule.message)
    yield from _length("message", message, MESSAGE_LENGTH)
    if not rule.message.facts:
        yield "the message names no fact: say what, how much and so what, with placeholders"
    if not message.endswith("."):
        yield "the message does not end in a full stop"
    yield from _length("why", rule.why, WHY_LENGTH)
    texts = {"name": rule.name, "message": message, "why": rule.why}
    texts |= {f"threshold {name}": threshold.because for name, threshold in rule.thresholds.items()}
    if rule.fix is None:
        yield "there is no [fix]: say what to change, if only as advice"
    else:
        texts["fix"] = template_text(rule.fix.summary)
        if rule.fix.safety != "advice-only" and not rule.fix.torch.pieces:
            yield "the fix has no PyTorch code, and its safety is not advice-only"
        if _TODO.search(template_text(rule.fix.torch)):
            yield "fix code still says TODO"
    for where, text in texts.items():
        scolding = _SCOLDING.search(text)
        if scolding:
            yield f'the {where} says "{scolding.group()}": state what happens instead'
        if _TODO.search(text):
            yield f"the {where} still says TODO"
    yield from _threshold_faults(rule)
    yield from _reference_faults(rule)
    kinds = ["bad", "good", "not_applicable"]
    if rule.probe is not None:
        kinds += ["withdrawn"] if rule.probe.withdrawn_when is not None else []
        kinds += ["confirmed"] if rule.probe.confirmed_when is not None else []
    for kind in kinds:
        if kind not in examples:
            yield f"there is no [[examples.{kind}]]"
    if rule.evidence_level in PROBE_LEVELS and not rule.evidence:
        yield f'the head does not say evidence = "{rule.evidence_level}", so that audits of a file read all of it'


def _threshold_faults(rule: Rule) -> Iterator[str]:
    nodes = [rule.when.node] if rule.applies_to is None else [rule.applies_to.node, rule.when.node]
    if rule.probe is not None:
        nodes += [condition.node for condition in rule.probe.conditions]
    used = {name for node in nodes for name in thresholds_in(node)}
    for name, threshold in rule.thresholds.items():
        if name not in used:
            yield f'no condition uses the threshold "{name}"'
        yield from _length(f"source of threshold {name}", threshold.because, BECAUSE_LENGTH)


def _reference_faults(rule: Rule) -> Iterator[str]:
    if not rule.references:
        yield "there are no [[references]]"
    for reference in rule.references:
        if not re.fullmatch(r"https://[^\s/]+\.[^\s/]+(/\S*)?", reference.url):
            yield f'the reference "{reference.title}" has no https address'
    urls = [reference.url for reference in rule.references]
    yield from (f"the reference {url} is given twice" for url in sorted({url for url in urls if urls.count(url) > 1}))


def _pair_faults(rules: Collection[str], tests: Path) -> Iterator[Problem]:
    for rule in sorted(rules):
        for name in ("bad.py", "good.py"):
            if not (tests / rule / name).is_file():
                yield Problem(str(tests / rule), f"there is no {name}")
    if tests.is_dir():
        for folder in sorted(tests.iterdir()):
            if (folder / "bad.py").is_file() and folder.name not in rules:
                yield Problem(str(folder), "there is no rule of that name")


def _facts_read(rule: Rule) -> Iterator[str]:
    yield from (*rule.needs, *rule.probe_needs)
    texts, recipe = [rule.message], () if rule.fix is None else rule.fix.recipe
    if rule.fix is not None:
        texts += [rule.fix.summary, rule.fix.torch, *(text for advice in recipe for text in (advice.where, advice.to))]
    for text in texts:
        yield from (spec.name for spec in text.facts)
    for advice in recipe:
        if advice.amount is not None:
            yield from (spec.name for spec in facts_in(advice.amount))


def _length(what: str, text: str, bounds: tuple[int, int]) -> Iterator[str]:
    low, high = bounds
    if not low <= len(text) <= high:
        yield f"the {what} has {len(text)} characters, outside {low} to {high}"
