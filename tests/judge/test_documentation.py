"""The rule file and the settings that the documentation shows are real ones."""

from __future__ import annotations

import re
from pathlib import Path

from trainaudit.changes import KINDS
from trainaudit.judge.rule_lint import lint
from trainaudit.judge.rule_testing import check_examples
from trainaudit.judge.rulefile import load_rule, load_rules
from trainaudit.judge.selection import select_rules
from trainaudit.resources import rules_folder
from trainaudit.settings import read_settings

DOCS = Path(__file__).parents[2] / "docs"


def example(name: str) -> str:
    """The first TOML block of a page."""
    found = re.search(r"```toml\n(.*?)```", (DOCS / name).read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_rule_file_that_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "initialization" / "hot-layer.toml"
    path.parent.mkdir()
    path.write_text(example("rules.md"), "utf-8")
    assert [check.detail for check in check_examples(load_rule(path))] == ["", "", "", ""]
    assert [problem.what for problem in lint([tmp_path])] == []


def test_the_settings_that_are_shown(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(example("settings.md"), "utf-8")
    settings = read_settings(tmp_path)
    assert settings.ignores[0].reason == "a fixed averaging layer"
    rules = load_rules([rules_folder()], settings.thresholds)
    assert "leaked-paths" not in {rule.id for rule in select_rules(rules, settings)}


def test_the_kinds_of_changes_that_are_shown() -> None:
    rows = re.findall(
        r"^\| `([a-z-]+)` \| (\w+) \| (?:a (\w+))? ?\| (.*?) ?\| (yes)? ?\| (.*) \|$",
        (DOCS / "rules.md").read_text("utf-8"),
        re.MULTILINE,
    )
    told = {
        word: (part, subject, tuple(re.findall(r"`(\w[\w-]*)`", words)), amount == "yes", meaning)
        for word, part, subject, words, amount, meaning in rows
    }
    assert told == {
        word: (kind.part, kind.subject, kind.words, kind.takes_amount, kind.meaning) for word, kind in KINDS.items()
    }


def test_the_rules_that_are_told_to_have_a_recipe() -> None:
    text = (DOCS / "rules.md").read_text("utf-8")
    part = text[text.index("## Fixes that a machine can make") : text.index("## Texts")]
    lists = re.findall(r"^- (\w+): (.*)$", part, re.MULTILINE)
    told = {(category, rule) for category, ids in lists for rule in re.findall(r"`([a-z-]+)`", ids)}
    held = {
        (rule.category, rule.id) for rule in load_rules([rules_folder()]) if rule.fix is not None and rule.fix.recipe
    }
    assert told == held
    assert f"{len(held)} of the built-in rules have a recipe" in part


def test_the_recipe_that_is_shown(tmp_path: Path) -> None:
    found = re.search(r"    recipe = \[\n.*?\n    \]\n", (DOCS / "rules.md").read_text("utf-8"), re.DOTALL)
    assert found is not None
    path = tmp_path / "initialization" / "hot-layer.toml"
    path.parent.mkdir()
    path.write_text(example("rules.md").replace("torch =", f"{found.group()}torch =", 1), "utf-8")
    fix = load_rule(path).fix
    assert fix is not None
    assert [advice.kind for advice in fix.recipe] == ["initialize", "set"]
