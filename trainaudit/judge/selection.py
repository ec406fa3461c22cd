"""Which rules run, and which of their findings the user has set aside. May import `judge.rule`, `measure.facts`, `result` and `errors`.

Rules are named by id, by category, by a glob on either (`*` and `?`; nothing else is special, so `layers[0]` is just a name) or `ALL`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from functools import lru_cache
from typing import Protocol

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.judge.rule import Rule
from trainaudit.result import Location
from trainaudit.suggestion import did_you_mean

ALL = "ALL"
_BY_ALL, _BY_CATEGORY, _BY_GLOB, _BY_ID = 1, 2, 3, 4
"""How closely a token names a rule. The closest naming decides, so that `--select symmetric-init --ignore initialization` runs it."""


class Choice(Protocol):
    """What the settings say about rules: tokens, each an id, a category, a glob or ALL, or several joined by commas."""

    @property
    def select(self) -> Sequence[str]: ...
    @property
    def extend_select(self) -> Sequence[str]: ...
    @property
    def ignore_rules(self) -> Sequence[str]: ...
    @property
    def ignores(self) -> Sequence[Ignore]: ...


@frozen
class Ignore:
    """Findings that the user has set aside, why, and until when. `rule` is an id, a category, a glob or ALL; `layer` is a glob on the
    layer's name, its module path or the parameter; `target` is a glob on the model's path. "" matches everything."""

    rule: str
    reason: str
    layer: str = ""
    target: str = ""
    until: date | None = None

    def __str__(self) -> str:
        parts = [f'rule "{self.rule}"']
        parts += [f'{name} "{value}"' for name, value in (("layer", self.layer), ("target", self.target)) if value]
        return ", ".join(parts)

    def names_rule(self, rule: Rule) -> bool:
        """The rule is one of those set aside."""
        return _closeness(self.rule, rule) > 0

    def names_place(self, place: Location, subject: str) -> bool:
        """The place is one of those set aside."""
        if not self.layer:
            return True
        matches = glob(self.layer).match
        return any(name is not None and matches(name) for name in (subject, place.layer, place.module, place.parameter))

    def is_expired(self, today: date) -> bool:
        """The last day has passed."""
        return self.until is not None and self.until < today


def select_rules(rules: Sequence[Rule], choice: Choice) -> tuple[Rule, ...]:
    """The rules that run, in their order. Without a selection, all stable ones.

    Rules in preview run only where they are selected by id or by ALL, deprecated ones only by id. Raises `TrainauditError` on a
    token, or an ignore, that names no rule at all.
    """
    select = split_tokens(choice.select) or [ALL]
    selecting = [*select, *split_tokens(choice.extend_select)]
    ignoring = split_tokens(choice.ignore_rules)
    check_tokens([*selecting, *ignoring, *(ignore.rule for ignore in choice.ignores)], rules)
    asked_for_all = ALL in split_tokens(choice.select) + split_tokens(choice.extend_select)
    chosen = []
    for rule in rules:
        wanted = max(_closeness(token, rule) for token in selecting)
        unwanted = max((_closeness(token, rule) for token in ignoring), default=0)
        awake = rule.status == "stable" or wanted == _BY_ID or (rule.status == "preview" and asked_for_all)
        if awake and wanted > unwanted:
            chosen.append(rule)
    return tuple(chosen)


def split_tokens(tokens: Iterable[str]) -> list[str]:
    """Tokens given one by one or joined by commas, as a flat list."""
    return [part.strip() for token in tokens for part in token.split(",") if part.strip()]


def check_tokens(tokens: Iterable[str], rules: Sequence[Rule]) -> None:
    """Raises `TrainauditError` on the first token that names no rule."""
    for token in tokens:
        if not any(_closeness(token, rule) for rule in rules) and token != ALL:
            known = [*(rule.id for rule in rules), *sorted({rule.category for rule in rules}), ALL]
            what = f'No rule matches "{token}".' if _is_glob(token) else f'"{token}" is neither a rule nor a category.'
            raise TrainauditError(
                "unknown-rule", what, did_you_mean(token, known) or "`trainaudit rule list` prints all rules."
            )


def active_ignores(ignores: Iterable[Ignore], names: Iterable[str], today: date) -> tuple[Ignore, ...]:
    """The ignores that hold for a model, known by any of `names` (its path as typed, relative to the settings file …), today."""
    names = tuple(names)
    return tuple(
        ignore
        for ignore in ignores
        if not ignore.is_expired(today)
        and (not ignore.target or any(glob(ignore.target).match(name) for name in names))
    )


def ignore_warnings(
    ignores: Iterable[Ignore], matched: Collection[Ignore], covered: Collection[Ignore], today: date
) -> tuple[str, ...]:
    """Sentences about ignores that have expired, and about those that matched no finding although a rule they name was judged on a
    model they cover. `matched` and `covered` are joined over all models of a run."""
    warnings = []
    for ignore in ignores:
        if ignore.is_expired(today):
            warnings.append(
                f"The ignore for {ignore} expired on {ignore.until}: its findings count again ({ignore.reason})."
            )
        elif ignore in covered and ignore not in matched:
            warnings.append(f"The ignore for {ignore} matched nothing: remove it ({ignore.reason}).")
    return tuple(warnings)


@lru_cache(maxsize=256)
def glob(pattern: str) -> re.Pattern[str]:
    """A pattern that matches whole names; `*` is any text and `?` any character. Its time is linear in the name for every `*`: each one
    takes the first place that fits and is never tried again."""
    first, *rest = (re.escape(part).replace(r"\?", ".") for part in pattern.split("*"))
    if not rest:
        return re.compile(rf"(?s:{first})\Z")
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1] if part)
    return re.compile(rf"(?s:{first}{middle}.*{rest[-1]})\Z")


def _closeness(token: str, rule: Rule) -> int:
    if token == rule.id:
        return _BY_ID
    if token == ALL:
        return _BY_ALL
    if token == rule.category:
        return _BY_CATEGORY
    if not _is_glob(token):
        return 0
    pattern = glob(token)
    return _BY_GLOB if pattern.match(rule.id) else _BY_CATEGORY if pattern.match(rule.category) else 0


def _is_glob(token: str) -> bool:
    return "*" in token or "?" in token
