"""Arguments and exit codes; no logic. Every command is a few lines over a function of another room, imported when it runs.

Exit codes: 0 nothing at or above `--fail-on`; 1 findings; 2 could not audit (bad usage, unreadable target, nothing audited).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from trainaudit import __version__
from trainaudit.cli_rules import fact, rule
from trainaudit.errors import TrainauditError

FORMATS = ("full", "concise", "json", "sarif", "junit", "github", "gitlab", "markdown")

Command = TypeVar("Command", bound=Callable[..., Any])


class _DefaultCheck(click.Group):
    """`trainaudit TARGET` is `trainaudit check TARGET`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "-h", "--version"}
        if not args or (args[0] not in self.commands and args[0] not in own):
            args = ["check", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TrainauditError as error:
            _refuse(error)


def _refuse(error: TrainauditError) -> None:
    """One clear sentence on stderr and exit code 2, with nothing in it that a terminal would obey."""
    from trainaudit.report.escaping import visible

    click.echo(f"error[{error.slug}]: {visible(str(error))}", err=True)
    sys.exit(2)


@click.group(cls=_DefaultCheck, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="trainaudit %(version)s")
def main() -> None:
    """Will this network train? If not: where does it break, why, and what to change.

    \b
    trainaudit model.onnx                       audit a model file
    trainaudit model.onnx --loss cross-entropy  say what the output feeds
    trainaudit package.module:build             import your code and audit the module that it makes
    trainaudit net.py:Net -k width=64 --input 'float32[8,3,32,32]'
    trainaudit 'models/*.onnx' --report report.html --report audit.sarif
    trainaudit demo                             see it work on two small models
    """


def _selection(function: Command) -> Command:
    for option in reversed(
        (
            click.option("--select", multiple=True, metavar="RULES", help="Rules, categories or globs to run, comma-separated."),
            click.option("--extend-select", multiple=True, metavar="RULES", help="Add to the selection (also preview rules)."),
            click.option("--ignore", multiple=True, metavar="RULES", help="Rules, categories or globs not to run."),
            click.option("--rules", "rule_folders", multiple=True, type=click.Path(path_type=Path), metavar="DIR",
                         help="A folder with rule files of your own (data, nothing in it is executed)."),
            click.option("--loss", metavar="NAME", help="The loss that the model's output feeds, by what it expects: "
                         "cross-entropy, nll, categorical-crossentropy, bce, bce-with-logits, mse, l1, huber, hinge, kl."),
            click.option("--config", type=click.Path(path_type=Path), metavar="PATH", help="Settings file to use."),
            click.option("--isolated", is_flag=True, help="Ignore all settings files."),
        )
    ):  # fmt: skip
        function = option(function)
    return function


def _example(function: Command) -> Command:
    for option in (
            click.option("--input", "inputs", multiple=True, metavar="[NAME=]DTYPE[SHAPE]", help="Example input of a PyTorch target, such as "
                         "'float32[8,3,224,224]' or 'ids=int64[2,128]'; repeatable, positional ones in order."),
            click.option("-k", "--argument", "arguments", multiple=True, metavar="KEY=VALUE",
                         help="Argument for the function or class that makes the module, such as width=64; repeatable."),
    ):  # fmt: skip
        function = option(function)
    return function


@main.command()
@click.argument("targets", nargs=-1)
@_example
@_selection
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "note", "never"]),
    help="Exit with 1 from this severity on [warning].",
)
@click.option(
    "-e", "--exit-zero", is_flag=True, help="Exit with 0 even with findings (not where something could not be audited)."
)
@click.option(
    "--output-format", type=click.Choice(FORMATS), help="What goes to the terminal or the output file [full]."
)
@click.option(
    "-o", "--output-file", type=click.Path(path_type=Path), metavar="PATH", help="Write the output there instead."
)
@click.option(
    "--report",
    "reports",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Also write a report; repeatable. By suffix: .html .pdf .json .sarif .md .xml.",
)
@click.option(
    "--baseline", type=click.Path(path_type=Path), metavar="PATH", help="Findings in this file do not fail the run."
)
@click.option(
    "--write-baseline", type=click.Path(path_type=Path), metavar="PATH", help="Write today's findings as a baseline."
)
@click.option("--statistics", is_flag=True, help="Count findings by rule.")
@click.option("--force-exclude", is_flag=True, help="Honour `exclude` for targets given by name too (pre-commit does).")
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Models audited at the same time."
)
@click.option("-q", "--quiet", is_flag=True, help="Print findings only.")
@click.option("-v", "--verbose", is_flag=True, help="Also print what passed, what was not run and why.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
def check(**options: Any) -> None:
    """Audit models. Without targets, those of the settings are audited.

    A target is a model file or a glob (.onnx, .pt2, .safetensors, .pt and .pth with weights alone), a name from the settings, a folder with
    the config.json of a transformers model (also hf:FOLDER), or Python: package.module:NAME and path/file.py:NAME, where NAME is a Module, a
    function or class that makes one, or a pair (model, example input). A Python target imports your code; nothing else does, and no file
    is ever unpickled.
    """
    from trainaudit.commands import check_targets

    sys.exit(check_targets(**options))


@main.command()
@click.argument("record", type=click.Path(path_type=Path))
@click.option(
    "--report",
    "reports",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="As in `check`; repeatable.",
)
@click.option("--output-format", type=click.Choice(FORMATS), default="full", show_default=True)
@click.option("-o", "--output-file", type=click.Path(path_type=Path), metavar="PATH")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
def report(record: Path, **options: Any) -> None:
    """Render a saved JSON record again, in any format, without the model."""
    from trainaudit.commands import render_again

    sys.exit(render_again(record, **options))


@main.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--fail-on", type=click.Choice(["error", "warning", "note", "never"]), default="warning", show_default=True
)
@click.option("--output-format", type=click.Choice(["full", "markdown"]), default="full", show_default=True)
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
def diff(old: Path, new: Path, **options: Any) -> None:
    """Compare two saved JSON records: new, fixed and unchanged findings. Exits with 1 on new ones."""
    from trainaudit.commands import compare_records

    sys.exit(compare_records(old, new, **options))


@main.command()
@click.argument("target")
@_example
@_selection
@click.option("-o", "--output-file", type=click.Path(path_type=Path), metavar="PATH", help="Write the facts there.")
def measure(target: str, **options: Any) -> None:
    """Write the facts of a model as JSON: numbers and names, no weights."""
    from trainaudit.commands import measure_target

    sys.exit(measure_target(target, **options))


@main.command()
@click.argument("facts", type=click.Path(path_type=Path))
@_selection
@click.option("--fail-on", type=click.Choice(["error", "warning", "note", "never"]), help="As in `check`.")
@click.option("--output-format", type=click.Choice(FORMATS), help="As in `check`.")
@click.option("-o", "--output-file", type=click.Path(path_type=Path), metavar="PATH", help="Write the output there.")
@click.option(
    "--report", "reports", multiple=True, type=click.Path(path_type=Path), metavar="PATH", help="As in `check`."
)
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
def judge(facts: Path, **options: Any) -> None:
    """Hold the rules against facts written by `measure`."""
    from trainaudit.commands import judge_facts

    sys.exit(judge_facts(facts, **options))


@main.command()
@click.option(
    "-o", "--output-folder", type=click.Path(path_type=Path), default=Path("trainaudit-demo"), show_default=True
)
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
def demo(output_folder: Path, color: str) -> None:
    """Build a faulty and a repaired network, audit both, and write the reports. No network, no GPU; opens nothing."""
    from trainaudit.commands import run_demo

    sys.exit(run_demo(output_folder, color=color))


main.add_command(rule)
main.add_command(fact)
