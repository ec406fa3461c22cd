"""Which rules run, globs, and what is said about ignores that have no use."""

from __future__ import annotations

import time
from datetime import date
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.judge.samples import make_rule
from trainaudit.errors import TrainauditError
from trainaudit.judge.rule import Rule
from trainaudit.judge.selection import Ignore, active_ignores, check_tokens, glob, ignore_warnings, select_rules
from trainaudit.result import Location

RULES = (
    make_rule("symmetric-init"),
    make_rule("zero-init-hidden"),
    make_rule("fresh-idea", status="preview"),
    make_rule("old-idea", status="deprecated"),
    make_rule("double-softmax", category="output"),
    make_rule("single-unit-softmax", category="output"),
)
TODAY = date(2026, 11, 21)


def chosen(select: str = "", ignore: str = "", extend: str = "", rules: tuple[Rule, ...] = RULES) -> list[str]:
    """Ids of the selected rules; tokens are joined by commas as on the command line."""
    choice = SimpleNamespace(select=(select,), ignore_rules=(ignore,), extend_select=(extend,), ignores=())
    return [rule.id for rule in select_rules(rules, choice)]


STABLE = ["symmetric-init", "zero-init-hidden", "double-softmax", "single-unit-softmax"]


@pytest.mark.parametrize(
    ("select", "ignore", "extend", "ids"),
    [
        ("", "", "", STABLE),
        ("symmetric-init", "", "", ["symmetric-init"]),
        ("output", "", "", ["double-softmax", "single-unit-softmax"]),
        ("init*", "", "", ["symmetric-init", "zero-init-hidden"]),
        ("*softmax,symmetric-init", "", "", ["symmetric-init", "double-softmax", "single-unit-softmax"]),
        ("ALL", "", "", [*STABLE[:2], "fresh-idea", *STABLE[2:]]),
        ("initialization", "", "", ["symmetric-init", "zero-init-hidden"]),
        ("fresh-idea", "", "", ["fresh-idea"]),
        ("old-idea", "", "", ["old-idea"]),
        ("", "", "fresh-idea", [*STABLE[:2], "fresh-idea", *STABLE[2:]]),
        ("output", "", "symmetric-init", ["symmetric-init", "double-softmax", "single-unit-softmax"]),
        ("", "output", "", ["symmetric-init", "zero-init-hidden"]),
        ("", "ALL", "", []),
        ("symmetric-init", "initialization", "", ["symmetric-init"]),
        ("initialization", "symmetric-init", "", ["zero-init-hidden"]),
        ("symmetric-init", "symmetric-init", "", []),
        ("output", "*unit*", "", ["double-softmax"]),
        ("ALL", "init*", "", ["double-softmax", "single-unit-softmax"]),
    ],
)
def test_selection(select: str, ignore: str, extend: str, ids: list[str]) -> None:
    assert chosen(select, ignore, extend) == ids


@pytest.mark.parametrize(
    ("token", "sentence"),
    [
        ("symetric-init", '"symetric-init" is neither a rule nor a category. Did you mean "symmetric-init"?'),
        ("ouput", '"ouput" is neither a rule nor a category. Did you mean "output"?'),
        ("all", '"all" is neither a rule nor a category. Did you mean "ALL"?'),
        ("zzz*", 'No rule matches "zzz*". `trainaudit rule list` prints all rules.'),
    ],
)
def test_a_token_that_names_nothing_is_an_error(token: str, sentence: str) -> None:
    with pytest.raises(TrainauditError) as caught:
        chosen(token)
    assert str(caught.value) == sentence
    with pytest.raises(TrainauditError):
        chosen(ignore=token)
    with pytest.raises(TrainauditError):
        check_tokens([token], RULES)


def test_an_ignore_that_names_no_rule_is_an_error() -> None:
    choice = SimpleNamespace(select=(), ignore_rules=(), extend_select=(), ignores=(Ignore("symetric-init", "why"),))
    with pytest.raises(TrainauditError, match='Did you mean "symmetric-init"'):
        select_rules(RULES, choice)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("encoder.*", "encoder.layers.0.fc", True),
        ("encoder.*", "decoder.encoder.x", False),
        ("*.fc?", "a.fc1", True),
        ("*.fc?", "a.fc", False),
        ("layers[0]", "layers[0]", True),
        ("layers[0]", "layers0", False),
        ("a.b", "axb", False),
        ("*", "", True),
        ("*", "two\nlines", True),
        ("", "", True),
        ("a*b*c", "abbbcbc", True),
        ("a*b*c", "acb", False),
        ("*a", "aa", True),
    ],
)
def test_globs_match_whole_names(pattern: str, name: str, matches: bool) -> None:
    assert bool(glob(pattern).match(name)) is matches


def slow_match(pattern: str, name: str) -> bool:
    """Globs by their definition."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(slow_match(pattern[1:], name[start:]) for start in range(len(name) + 1))
    return bool(name) and pattern[0] in (name[0], "?") and slow_match(pattern[1:], name[1:])


@given(st.text("ab*?.", max_size=7), st.text("ab.", max_size=8))
def test_globs_agree_with_their_definition(pattern: str, name: str) -> None:
    assert bool(glob(pattern).match(name)) is slow_match(pattern, name)


def test_a_hostile_glob_is_not_slow() -> None:
    started = time.process_time()
    assert not glob("*a" * 30 + "b").match("a" * 5_000)
    assert time.process_time() - started < 1


def test_which_ignores_hold_for_a_model() -> None:
    ignores = (
        Ignore("ALL", "everywhere"),
        Ignore("ALL", "teacher", target="models/teacher.onnx"),
        Ignore("ALL", "glob", target="models/*"),
        Ignore("ALL", "gone", until=date(2026, 11, 20)),
        Ignore("ALL", "last day", until=TODAY),
    )
    active = active_ignores(ignores, ["../models/teacher.onnx", "models/teacher.onnx"], TODAY)
    assert [ignore.reason for ignore in active] == ["everywhere", "teacher", "glob", "last day"]
    active = active_ignores(ignores, ["student.onnx"], TODAY)
    assert [ignore.reason for ignore in active] == ["everywhere", "last day"]


@pytest.mark.parametrize("pattern", ["enc.fc", "/enc/fc/Gemm", "enc.fc.weight", "subject-id", "enc*"])
def test_an_ignore_names_a_place_by_layer_module_parameter_or_subject(pattern: str) -> None:
    place = Location(layer="/enc/fc/Gemm", module="enc.fc", parameter="enc.fc.weight")
    assert Ignore("ALL", "why", layer=pattern).names_place(place, "subject-id")
    assert not Ignore("ALL", "why", layer="other").names_place(place, "subject-id")
    assert not Ignore("ALL", "why", layer=pattern).names_place(Location(), "x")


def test_warnings_about_ignores() -> None:
    used, idle = Ignore("symmetric-init", "meant"), Ignore("output", "meant too", layer="head.*")
    elsewhere, expired = Ignore("output", "other model"), Ignore("ALL", "old", until=date(2026, 1, 1))
    warnings = ignore_warnings([used, idle, elsewhere, expired], {used}, {used, idle}, TODAY)
    assert warnings == (
        'The ignore for rule "output", layer "head.*" matched nothing: remove it (meant too).',
        'The ignore for rule "ALL" expired on 2026-01-01: its findings count again (old).',
    )
