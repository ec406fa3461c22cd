"""The commands `trainaudit rule …` and `trainaudit fact …`: arguments and exit codes over `judge.rule_text`, `rule_new`,
`rule_testing` and `rule_lint`."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from trainaudit.output import put

FORMS = click.Choice(["text", "markdown", "json"])
FOLDERS = click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
OWN_RULES = click.option(
    "--rules",
    "rule_folders",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Rule files of your own besides.",
)


@click.group()
def rule() -> None:
    """The rules: list, explain, write and test them."""


@click.group()
def fact() -> None:
    """The facts that rules may read."""


@rule.command("list")
@click.option("--output-format", type=FORMS, default="text", show_default=True)
@OWN_RULES
def list_(output_format: str, rule_folders: tuple[Path, ...]) -> None:
    """All rules with severity, evidence and recipe step."""
    from trainaudit.judge.rule_text import list_rules

    rules = _rules(rule_folders)
    if output_format == "text" and sys.stdout.isatty():
        _table(list_rules(rules, "json"), "id", "category", "severity", "evidence", "name")
    else:
        _show(list_rules(rules, output_format))


@rule.command()
@click.argument("rule_id")
@click.option("--output-format", type=FORMS, default="text", show_default=True)
@OWN_RULES
def explain(rule_id: str, output_format: str, rule_folders: tuple[Path, ...]) -> None:
    """What a rule looks for, why it matters, its thresholds and their sources, and the fix."""
    from trainaudit.judge import rule_text

    _show(rule_text.explain(rule_text.find_rule(_rules(rule_folders), rule_id), output_format))


@rule.command()
@click.argument("name", metavar="CATEGORY/THE-BAD-STATE")
@click.option("--rules", "rules_folder", type=click.Path(path_type=Path), default=Path("rules"), show_default=True)
@click.option(
    "--tests", "tests_folder", type=click.Path(path_type=Path), default=Path("tests/rules"), show_default=True
)
def new(name: str, rules_folder: Path, tests_folder: Path) -> None:
    """Write a rule file and its model pair to fill in."""
    from trainaudit import __version__
    from trainaudit.judge.rule_new import new_rule

    for path in new_rule(name, rules_folder, tests_folder, __version__.rsplit(".", 1)[0]):
        click.echo(f"wrote {path}")


@rule.command()
@FOLDERS
@click.option("--models", type=click.Path(path_type=Path), metavar="DIR", help="Also build and audit DIR/<rule-id>/bad.py and good.py "
              "(this runs the Python in them).")  # fmt: skip
def test(folders: tuple[Path, ...], models: Path | None) -> None:
    """Run the examples in rule files: bad ones must fire, good ones must not. Without FOLDERS, the built-in rules."""
    from trainaudit.judge.rule_testing import check_examples, check_models, summary

    rules = _loaded(folders)
    checks = [check for rule in rules for check in check_examples(rule)]
    if models is not None:
        checks += check_models(rules, models, partial(_fires, rules))
    click.echo(summary(checks))
    sys.exit(0 if checks and all(check.passed for check in checks) else 1)


@rule.command()
@FOLDERS
@click.option(
    "--tests",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder with the model pairs, to see that none is missing.",
)
def lint(folders: tuple[Path, ...], tests: Path | None) -> None:
    """Check rule files: names, facts, thresholds, prose, examples. Without FOLDERS, the built-in rules and the facts that nothing reads."""
    from trainaudit.judge.rule_lint import lint as find_problems
    from trainaudit.measure.static.rows import REPORT_FACTS
    from trainaudit.report.numbers import count
    from trainaudit.resources import rules_folder

    problems = find_problems(folders or (rules_folder(),), tests=tests, report_facts=None if folders else REPORT_FACTS)
    for problem in problems:
        click.echo(str(problem))
    click.echo(f"{count(len(problems), 'problem')}." if problems else "All rule files are in order.")
    sys.exit(1 if problems else 0)


@fact.command("list")
@click.option("--output-format", type=FORMS, default="text", show_default=True)
def list_facts(output_format: str) -> None:
    """Every fact with its type, unit, evidence and meaning, and the rules that read it."""
    from trainaudit.judge.rule_text import list_facts as facts_as

    rules = _rules(())
    if output_format == "text" and sys.stdout.isatty():
        _table(facts_as("json", rules), "name", "type", "unit", "source", "meaning")
    else:
        _show(facts_as(output_format, rules))


def _rules(own: tuple[Path, ...]) -> Any:
    from trainaudit.resources import rules_folder

    return _loaded((rules_folder(), *own))


def _loaded(folders: tuple[Path, ...]) -> Any:
    from trainaudit.judge.rulefile import load_rules
    from trainaudit.resources import rules_folder

    return load_rules(folders or (rules_folder(),))


def _fires(rules: Any, model: Path, loss: str | None) -> dict[str, set[str]]:
    """The rules that fire on a model, each with the subjects on which it does."""
    from trainaudit.auditing import audit_file
    from trainaudit.settings import Settings

    fired: dict[str, set[str]] = {}
    for finding in audit_file(str(model), Settings(loss=loss), rules, detail=False).audit.findings:
        fired.setdefault(finding.rule, set()).update(occurrence.subject for occurrence in finding.occurrences)
    return fired


def _table(records: Any, *columns: str) -> None:
    """Records as a table that fits the terminal; a pipe gets one line for each instead."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from trainaudit.report.escaping import visible

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == columns[0])
    for record in records:
        table.add_row(*(Text(visible(str(record[column]))) for column in columns))
    Console().print(table)


def _show(text: Any) -> None:
    put(text.rstrip("\n") if isinstance(text, str) else json.dumps(text, indent=2), None)
