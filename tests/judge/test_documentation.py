"""The rule file and the settings that the documentation shows are real ones."""

from __future__ import annotations

import re
from pathlib import Path

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
