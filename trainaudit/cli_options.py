"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

FORMATS = ("full", "concise", "json", "sarif", "junit", "github", "gitlab", "markdown")

Command = TypeVar("Command", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)


def _given(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """One decorator for several options; `--help` lists them in this order."""

    def decorated(function: Command) -> Command:
        for option in reversed(options):
            function = option(function)
        return function

    return decorated


def _rules(_context: click.Context, _option: click.Parameter, begun: str) -> list[str]:
    """For shells that complete words: rules and categories that go on as the last of those that are typed begins."""
    from trainaudit.resources import rules_folder

    done, comma, last = begun.rpartition(",")
    names = {name for path in rules_folder().glob("*/*.toml") for name in (path.stem, path.parent.name)}
    return [f"{done}{comma}{name}" for name in sorted(names) if name.startswith(last)]


selection = _given(
    click.option("--select", multiple=True, metavar="RULES", shell_complete=_rules, help="Rules, categories or globs to run, comma-separated."),
    click.option("--extend-select", multiple=True, metavar="RULES", shell_complete=_rules, help="Add to the selection (also preview rules)."),
    click.option("--ignore", multiple=True, metavar="RULES", shell_complete=_rules, help="Rules, categories or globs not to run."),
    click.option("--rules", "rule_folders", multiple=True, type=_PATH, metavar="DIR",
                 help="A folder with rule files of your own (data, nothing in it is executed)."),
    click.option("--config", type=_PATH, metavar="PATH", help="Settings file to use."),
    click.option("--isolated", is_flag=True, help="Ignore all settings files."),
)  # fmt: skip

loss = click.option(
    "--loss",
    metavar="NAME",
    help="The loss that the model's output feeds, by what it expects: "
    "cross-entropy, nll, categorical-crossentropy, bce, bce-with-logits, mse, l1, huber, hinge, kl.",
)

example = _given(
    click.option("-k", "--argument", "arguments", multiple=True, metavar="KEY=VALUE",
                 help="Argument for the function or class that makes the module, such as width=64; repeatable."),
    click.option("--input", "inputs", multiple=True, metavar="[NAME=]DTYPE[SHAPE]", help="Example input of a PyTorch target, such as "
                 "'float32[8,3,224,224]' or 'ids=int64[2,128]'; repeatable, positional ones in order."),
    click.option("--input-range", "input_ranges", multiple=True, metavar="[NAME=]LOW..HIGH", help="Between which numbers inputs lie, such as "
                 "0..255, for rules on logarithms, divisions and exponentials; repeatable [standardised inputs]."),
)  # fmt: skip

color = click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)

output = _given(
    click.option("--fail-on", type=click.Choice(["error", "warning", "note", "never"]), help="Exit with 1 from this severity on [warning]."),
    click.option("-e", "--exit-zero", is_flag=True, help="Exit with 0 even with findings (not where something could not be audited)."),
    click.option("--output-format", type=click.Choice(FORMATS), help="What goes to the terminal or the output file [full]."),
    click.option("-o", "--output-file", type=_PATH, metavar="PATH", help="Write the output there instead."),
    click.option("--report", "reports", multiple=True, type=_PATH, metavar="PATH",
                 help="Also write a report; repeatable. By suffix: .html .pdf .json .sarif .md .xml. HTML of several models is a "
                 "page of all, with a report of each in a folder beside it."),
    click.option("--baseline", type=_PATH, metavar="PATH", help="Findings in this file do not fail the run."),
    click.option("--write-baseline", type=_PATH, metavar="PATH", help="Write today's findings as a baseline."),
    click.option("--statistics", is_flag=True, help="Count findings by rule."),
    click.option("--force-exclude", is_flag=True, help="Honour `exclude` for targets given by name too (pre-commit does)."),
    click.option("-q", "--quiet", is_flag=True, help="Print findings only."),
    click.option("-v", "--verbose", is_flag=True, help="Also print what passed, what was not run and why."),
    color,
)  # fmt: skip

_training = (
    click.option("--data", metavar="WHAT", help="Training data: a DataLoader, Dataset, iterable, function or tensors by import string "
                 "(package.module:NAME, path/file.py:NAME), or a .npz or .safetensors file. Without it, synthetic data."),
    click.option("--validation", metavar="WHAT", help="Validation data, likewise."),
    click.option("--loss", metavar="NAME", help="A loss by name (cross-entropy, nll, categorical-crossentropy, bce, bce-with-logits, mse, l1, huber, "
                 "hinge, kl) or by import string. Without it, inferred."),
    click.option("--optimizer", metavar="NAME", help="A class of torch.optim, such as adamw, or an import string of a function that takes the model or its "
                 "parameters. Without it, inferred."),
    click.option("--lr", "learning_rate", type=click.FloatRange(0, 1e6, min_open=True), metavar="RATE", help="Learning rate."),
    click.option("--step", metavar="IMPORT", help="Your own step: a function (model, batch) that returns the loss, or the loss and the output."),
    click.option("--spec", metavar="FILE", help="A Python file with build_model, make_data, make_loss and make_optimizer, any of which may be missing."),
    click.option("--steps", type=click.IntRange(1, 1_000_000), metavar="N", help="Steps of the training run, at most."),
    click.option("--batch-size", type=click.IntRange(1, 1_000_000), metavar="N", help="Examples in a batch."),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), help="Where to compute [auto: CUDA, then MPS, then CPU]."),
    click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), help="Type to compute in [fp32]."),
    click.option("--seed", type=click.IntRange(0, 2**31 - 1), metavar="N", help="Seed of everything that is random [0]."),
    click.option("--repeats", type=click.IntRange(1, 100), metavar="N", help="Repeats of experiments that noise could decide [3]."),
    click.option("--time-budget", type=click.FloatRange(1, 1e6), metavar="SECONDS",
                 help="Seconds for the probe [60]; what does not fit is cut, and the report says what."),
)  # fmt: skip

proving = _given(*_training)

probing = _given(
    *_training,
    click.option("--causal", "is_causal", is_flag=True, default=None, help="The model must not look ahead: test that it does not."),
    click.option("--experiments", multiple=True, metavar="NAMES", help="Run these experiments alone, comma-separated."),
    click.option("--prove-fixes", is_flag=True, default=None, help="Make each fix on a copy, train it beside the model from the same seeds, and say what "
                 "came of it: proved, no effect, or worse. Takes three fifths of the time budget."),
    click.option("--forward-only", is_flag=True, default=None, help="Run the ONNX model forward with onnxruntime alone: no training, no torch."),
)  # fmt: skip
