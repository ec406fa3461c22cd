"""From what a finding may follow: rules name rules that there are, and no two bring each other about."""

from __future__ import annotations

import pytest

from trainaudit.judge.rule import Rule
from trainaudit.judge.rulefile import load_rules
from trainaudit.resources import rules_folder

RULES = {rule.id: rule for rule in load_rules([rules_folder()])}
FOLLOWING = [rule for rule in RULES.values() if rule.follows]


def test_there_are_some() -> None:
    assert len(FOLLOWING) > 10


@pytest.mark.parametrize("rule", FOLLOWING, ids=lambda rule: rule.id)
def test_a_cause_is_another_rule_named_once(rule: Rule) -> None:
    assert set(rule.follows) <= set(RULES) - {rule.id}
    assert len(set(rule.follows)) == len(rule.follows)


@pytest.mark.parametrize("rule", FOLLOWING, ids=lambda rule: rule.id)
def test_no_rule_brings_itself_about(rule: Rule) -> None:
    seen: set[str] = set()
    open_ones = list(rule.follows)
    while open_ones:
        cause = open_ones.pop()
        if cause not in seen:
            seen.add(cause)
            open_ones += RULES[cause].follows
    assert rule.id not in seen
