"""The files that other tools read are well-formed, and say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from trainaudit.cli import main

ROOT = Path(__file__).resolve().parents[2]

yaml = pytest.importorskip("yaml")
FILES = [*(ROOT / ".github").rglob("*.yml"), ROOT / "action.yml", ROOT / ".pre-commit-hooks.yaml"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_yaml_is_well_formed(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))


def test_actions_are_pinned() -> None:
    for path in FILES:
        for use in re.findall(r"uses: (\S+)", path.read_text(encoding="utf-8")):
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", use), use


def test_the_action_asks_for_options_that_exist() -> None:
    text = CliRunner().invoke(main, ["check", "--help"]).output
    action = (ROOT / "action.yml").read_text(encoding="utf-8")
    hooks = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    options = set(
        re.findall(
            r"(?<!\w)--[a-z-]+", "\n".join(re.findall(r"trainaudit check .*|reports.*=.*|entry: .*", action + hooks))
        )
    )
    assert {"--fail-on", "--output-format", "--report", "--force-exclude"} <= options
    assert [option for option in options if option not in text] == []


def test_no_input_of_the_action_reaches_a_shell_unquoted() -> None:
    """Inputs go through the environment: an expression inside a script would be a way to run commands."""
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    for step in action["runs"]["steps"]:
        assert "${{" not in step.get("run", "")


def test_the_readme_has_two_setup_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("## Set up")[1].split("\n## ")[0]
    commands = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert len(commands) == 2
    assert all(command.count("\n") == 1 for command in commands)
    assert "trainaudit demo" in commands[0]
    assert "pytest" in commands[1]
    assert "<!-- test-command -->" in section  # what .ci/run runs
