"""Arguments and exit codes; no logic. Every command is a few lines over a function of another room, imported when it runs.

Exit codes: 0 nothing at or above `--fail-on`; 1 findings; 2 could not audit (bad usage, unreadable target, nothing audited); 130 interrupted
before anything was known.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from trainaudit import __version__
from trainaudit import cli_options as options
from trainaudit.cli_fix import fix
from trainaudit.cli_options import FORMATS
from trainaudit.cli_rules import fact, rule
from trainaudit.errors import TrainauditError


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
        except KeyboardInterrupt:
            sys.exit(130)  # what shells give for a program that Ctrl-C ended


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
    trainaudit package.module:build             import your code, audit its module
    trainaudit net.py:Net -k width=64 --input 'float32[8,3,32,32]'
    trainaudit 'models/*.onnx' --report report.html --report audit.sarif
    trainaudit probe package.module:build --data package.data:batches
    trainaudit fix model.onnx -o fixed.onnx     write a repaired copy
    trainaudit demo                             see it work on two small models
    """


@main.command()
@click.argument("targets", nargs=-1)
@options.example
@options.selection
@options.loss
@options.output
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Models audited at the same time."
)
def check(**given: Any) -> None:
    """Audit models. Without targets, those of the settings are audited.

    A target is a model file or a glob (.onnx, .pt2, .safetensors, .pt and .pth with weights alone), a name from the settings, a folder with
    the config.json of a transformers model (also hf:FOLDER), or Python: package.module:NAME and path/file.py:NAME, where NAME is a Module, a
    function or class that makes one, or a pair (model, example input). A Python target imports your code; nothing else does, and no file
    is ever unpickled.
    """
    from trainaudit.commands import check_targets

    sys.exit(check_targets(**given))


@main.command()
@click.argument("targets", nargs=-1)
@options.probing
@click.option(
    "--trace",
    "trace_file",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Also write the trace there, as JSON.",
)
@click.option(
    "--from-trace",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Judge a saved trace (of --trace, or a JSON report) again; nothing is run.",
)
@options.example
@options.selection
@options.output
def probe(**given: Any) -> None:
    """Audit models and train them for a minute: real gradients, real units, the recipe's experiments.

    Targets are those of `check`. Data, loss, optimizer and step by import string import your code, as Python targets do. The model is
    copied and left as it was. Ctrl-C ends the run with a report of what was measured so far.
    """
    from trainaudit.commands import probe_targets

    sys.exit(probe_targets(**given))


@main.command()
@click.argument("records", nargs=-1, required=True, type=click.Path(path_type=Path))
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
@options.color
def report(records: tuple[Path, ...], **given: Any) -> None:
    """Render saved JSON records again, in any format, without the models. Several are rendered as one."""
    from trainaudit.commands import render_again

    sys.exit(render_again(records, **given))


@main.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--fail-on", type=click.Choice(["error", "warning", "note", "never"]), default="warning", show_default=True
)
@click.option("--output-format", type=click.Choice(["full", "markdown"]), default="full", show_default=True)
@click.option(
    "--report",
    "reports",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Also write the comparison; repeatable. By suffix: .html .pdf .md.",
)
@options.color
def diff(old: Path, new: Path, **given: Any) -> None:
    """Compare two saved JSON records: new, fixed and unchanged findings. Exits with 1 on new ones."""
    from trainaudit.commands import compare_records

    sys.exit(compare_records(old, new, **given))


@main.command()
@click.argument("target")
@options.example
@options.selection
@options.loss
@click.option("-o", "--output-file", type=click.Path(path_type=Path), metavar="PATH", help="Write the facts there.")
@click.option(
    "--from-trace",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Add the facts of a saved trace (see `probe`).",
)
def measure(target: str, **given: Any) -> None:
    """Write the facts of a model as JSON: numbers and names, no weights."""
    from trainaudit.commands import measure_target

    sys.exit(measure_target(target, **given))


@main.command()
@click.argument("facts", type=click.Path(path_type=Path))
@options.selection
@options.loss
@click.option("--fail-on", type=click.Choice(["error", "warning", "note", "never"]), help="As in `check`.")
@click.option("--output-format", type=click.Choice(FORMATS), help="As in `check`.")
@click.option("-o", "--output-file", type=click.Path(path_type=Path), metavar="PATH", help="Write the output there.")
@click.option(
    "--report", "reports", multiple=True, type=click.Path(path_type=Path), metavar="PATH", help="As in `check`."
)
@options.color
def judge(facts: Path, **given: Any) -> None:
    """Hold the rules against facts written by `measure`."""
    from trainaudit.commands import judge_facts

    sys.exit(judge_facts(facts, **given))


@main.command()
@click.option(
    "-o", "--output-folder", type=click.Path(path_type=Path), default=Path("trainaudit-demo"), show_default=True
)
@click.option(
    "--probe", is_flag=True, help="Also train both for some seconds, on the CPU and on synthetic data (needs torch)."
)
@options.color
def demo(output_folder: Path, probe: bool, color: str) -> None:
    """Build a faulty and a repaired network, audit both, and write the reports. No network, no GPU; opens nothing."""
    from trainaudit.commands import run_demo

    sys.exit(run_demo(output_folder, probe=probe, color=color))


main.add_command(fix)
main.add_command(rule)
main.add_command(fact)
