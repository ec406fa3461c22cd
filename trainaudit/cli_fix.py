"""The command `trainaudit fix`: arguments and exit code over `commands_fix`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from trainaudit import cli_options as options


@click.command()
@click.argument("target")
@click.option(
    "-o", "--output-file", type=click.Path(path_type=Path), metavar="PATH",
    help="Write the repaired model there (for an ONNX file), or the diff (for Python).",
)  # fmt: skip
@click.option("--diff", is_flag=True, help="Show what would be changed, and write no model.")
@click.option(
    "--prove", is_flag=True, help="Make those fixes alone that a probe proves: each is made on a copy and trained beside the model. Needs torch; "
    "the options of `probe` say on what.",
)  # fmt: skip
@click.option(
    "--unsafe",
    is_flag=True,
    help="Admit changes of the architecture: other activation functions, normalizations, biases, dropouts.",
)
@click.option(
    "--write", is_flag=True, help="Write the changes into your Python files; without it they are shown as a diff."
)
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "note", "never"]),
    help="Exit with 1 where this severity or a worse one is left [warning].",
)
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@options.example
@options.selection
@options.proving
def fix(target: str, **given: Any) -> None:
    """Mend what the audit finds, as far as a machine can.

    Of an ONNX file a repaired copy is written: weights drawn anew, and with --unsafe nodes put in, taken out or exchanged. All other bytes stay what
    they are, the file itself is never changed, and the copy's metadata say what was. Of PyTorch code the changes are shown as a unified diff
    where their place is certain, else as code to paste. What is made, what is not and why is listed. A file that was written is audited
    again; for Python the command is printed.

    \b
    trainaudit fix model.onnx --diff
    trainaudit fix model.onnx -o fixed.onnx --select initialization
    trainaudit fix model.onnx -o fixed.onnx --unsafe --prove --data data:batches
    trainaudit fix package.module:build
    trainaudit fix package.module:build --write
    """
    from trainaudit.commands_fix import fix_target

    sys.exit(fix_target(target, **given))
