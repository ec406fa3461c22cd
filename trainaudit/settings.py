"""What the user wants: one frozen record from the closest settings file and the command line. Stdlib only, beside `judge.selection`.

The closest of `trainaudit.toml`, `.trainaudit.toml` and `pyproject.toml` with a `[tool.trainaudit]` table counts, from the working folder
upwards; files are never merged, and a pyproject.toml without that table is passed over. In trainaudit.toml the keys stand at the top. Paths
are relative to the settings file.

    select = ["initialization", "output"]      rules to run: ids, categories, globs, ALL
    extend-select = ["a-preview-rule"]         rules to run besides
    ignore-rules = ["leaked-paths"]            rules not to run (`--ignore`)
    fail-on = "warning"                        error, warning, note or never
    targets = ["models/*.onnx"]                what a bare `trainaudit` audits (or tables, see below)
    exclude = ["models/third-party/*"]         never audited when found by a glob
    loss = "cross-entropy"                     what the models' outputs feed
    rules = ["lint/rules"]                     folders with rule files of your own
    output-format = "full"                     what goes to the terminal
    report = ["report.html"]                   reports to write
    baseline = "trainaudit-baseline.json"      findings in it do not fail the run

    [tool.trainaudit.thresholds]
    "excessive-dropout.limit" = 0.9            a rule's threshold

    [[tool.trainaudit.ignore]]                 findings set aside: the rule runs, and the report says why they do not count
    rule = "symmetric-init"                    id, category, glob or ALL
    layer = "stem.*"                           optional: glob on the layer's name, module path or parameter
    target = "models/teacher.onnx"             optional: glob on the model's path
    reason = "meant: a fixed averaging layer"  required
    until = 2027-03-01                         optional: last day

    [tool.trainaudit.targets.small]            `trainaudit small`; a bare `trainaudit` audits all of them
    model = "my_pkg.model:build"               path, glob, pkg.mod:attr, path/file.py:attr or hf:FOLDER
    input = "float32[8,3,32,32]"               optional: example input, or { name = "int64[2,128]" }
    loss = "cross-entropy"                     optional: instead of the general one
    arguments = { width = 64 }                 optional: what a factory is called with
    input-range = "0..1"                       optional: between which numbers inputs lie, or { image = "-1..1" }
    data = "my_pkg.data:batches"               optional, for a probe: as its flags take them; also validation, optimizer, lr, step, spec,
    optimizer = "adamw"                        batch-size, steps, seed, time-budget, causal, prove-fixes; and a loss may be an import string
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.judge.selection import Ignore
from trainaudit.load.target import InputSpec, Target, parse_arguments, parse_inputs, parse_ranges, split_python
from trainaudit.settings_values import choice_in, ignores_in, targets_in, text_in, texts_in, thresholds_in
from trainaudit.suggestion import did_you_mean

LOSSES: dict[str, str] = {
    "cross-entropy": "logits",
    "nll": "log-probabilities",
    "categorical-crossentropy": "probabilities",
    "bce": "probabilities",
    "bce-with-logits": "logits",
    "mse": "values",
    "l1": "values",
    "huber": "values",
    "hinge": "scores",
    "kl": "log-probabilities",
}
"""Loss → what it expects of the model's output."""

FAIL_ON = ("error", "warning", "note", "never")
OUTPUT_FORMATS = ("full", "concise", "json", "sarif", "junit", "github", "gitlab", "markdown")
FILE_NAMES = ("trainaudit.toml", ".trainaudit.toml", "pyproject.toml")
MAX_BYTES = 1024 * 1024


@frozen
class Settings:
    """`root` is the folder of the settings file, `source` the file's path; both None without one. `named` are the targets that have a table
    of their own; `inputs`, `ranges` and `arguments` come from the command line and hold for every target."""

    select: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    ignore_rules: tuple[str, ...] = ()
    ignores: tuple[Ignore, ...] = ()
    fail_on: str = "warning"
    targets: tuple[str, ...] = ()
    named: Mapping[str, Target] = field(default_factory=dict)
    inputs: tuple[InputSpec, ...] = ()
    arguments: Mapping[str, object] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    loss: str | None = None
    rules: tuple[Path, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    output_format: str = "full"
    reports: tuple[Path, ...] = ()
    baseline: Path | None = None
    root: Path | None = None
    source: Path | None = None


def read_settings(folder: Path | None = None, *, config: Path | None = None, isolated: bool = False) -> Settings:
    """The settings for a working folder (the current one), from `config` where it is given; the defaults where `isolated`.

    Raises `TrainauditError` that names the file, the key and the nearest known one.
    """
    if isolated:
        return Settings()
    folder = Path.cwd() if folder is None else folder.absolute()
    if config is not None:
        if not config.is_file():
            raise TrainauditError("no-settings", f"There is no settings file at {config}.", "Check --config.")
        table = _table(config)
        if table is None:
            raise TrainauditError(
                "no-settings", f"{config} has no [tool.trainaudit] table.", "Add it, or name another file."
            )
        return _settings(table, config, folder)
    for place in (folder, *folder.parents):
        for name in FILE_NAMES:
            path = place / name
            if path.is_file():
                table = _table(path)
                if table is not None:
                    return _settings(table, path, folder)
    return Settings()


def with_flags(
    settings: Settings,
    *,
    select: Sequence[str] = (),
    extend_select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    targets: Sequence[str] = (),
    rule_folders: Sequence[Path] = (),
    inputs: Sequence[str] = (),
    arguments: Sequence[str] = (),
    input_ranges: Sequence[str] = (),
    loss: str | None = None,
    fail_on: str | None = None,
    output_format: str | None = None,
    reports: Sequence[Path] = (),
    baseline: Path | None = None,
) -> Settings:
    """The settings with the command line on top: `--select`, targets and single values replace, the rest adds. What is not given
    (empty or None) changes nothing. A loss on the command line counts for named targets too."""
    named = settings.named if loss is None else {name: replace(one, loss=None) for name, one in settings.named.items()}
    return replace(
        settings,
        select=tuple(select) or settings.select,
        extend_select=(*settings.extend_select, *extend_select),
        ignore_rules=(*settings.ignore_rules, *ignore),
        targets=tuple(targets) or settings.targets,
        named=named,
        inputs=parse_inputs(inputs) or settings.inputs,
        arguments={**settings.arguments, **parse_arguments(arguments)},
        ranges={**settings.ranges, **parse_ranges(input_ranges)},
        rules=(*settings.rules, *rule_folders),
        loss=settings.loss if loss is None else choice_in(loss, LOSSES, "--loss"),
        fail_on=settings.fail_on if fail_on is None else choice_in(fail_on, FAIL_ON, "--fail-on"),
        output_format=settings.output_format if output_format is None else output_format,
        reports=tuple(reports) or settings.reports,
        baseline=settings.baseline if baseline is None else baseline,
    )


def given_options(settings: Settings) -> tuple[str, ...]:
    """What the targets are given, as it is typed: example inputs, arguments and the loss."""
    pairs = [
        *(("--input", str(spec)) for spec in settings.inputs),
        *(("-k", f"{key}={value!r}") for key, value in settings.arguments.items()),
        *([] if settings.loss is None else [("--loss", settings.loss)]),
    ]
    return tuple(word for pair in pairs for word in pair)


def settings_record(settings: Settings) -> dict[str, object]:
    """The settings as plain data for the audit record, without absolute paths."""
    return {
        "select": list(settings.select),
        "extend-select": list(settings.extend_select),
        "ignore-rules": list(settings.ignore_rules),
        "ignore": [
            {"rule": item.rule, "layer": item.layer, "target": item.target, "reason": item.reason,
             "until": None if item.until is None else item.until.isoformat()}
            for item in settings.ignores
        ],
        "fail-on": settings.fail_on,
        "targets": list(settings.targets) or list(settings.named),
        "exclude": list(settings.exclude),
        "loss": settings.loss,
        "rules": [folder.name for folder in settings.rules],
        "thresholds": dict(settings.thresholds),
        "baseline": None if settings.baseline is None else settings.baseline.name,
        "source": None if settings.source is None else settings.source.name,
    }  # fmt: skip


def target_names(target: str, settings: Settings) -> tuple[str, ...]:
    """The names by which globs know a target: as given, and relative to the settings file, with forward slashes."""
    names = [target.replace(os.sep, "/").removeprefix("./")]
    if settings.root is not None:
        with suppress(ValueError):  # on another drive it has no relative path
            names.append(os.path.relpath(target, settings.root).replace(os.sep, "/"))
    return tuple(dict.fromkeys(names))


def _table(path: Path) -> dict[str, Any] | None:
    """The table of settings in a file; None in a pyproject.toml without one."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise TrainauditError(
                "bad-settings", f"{_shown(path)} is larger than {MAX_BYTES // 1024} KB.", "Check the file."
            )
        if path.name == "pyproject.toml" and b"trainaudit" not in data:
            return None
        import tomllib  # where there are settings

        table = tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise TrainauditError(
            "bad-settings", f"{_shown(path)} cannot be read: {error.strerror}.", "Check the file."
        ) from None
    except (ValueError, RecursionError) as error:  # not UTF-8, or no TOML
        raise TrainauditError(
            "bad-settings", f"{_shown(path)} is not valid TOML: {error}.", "Correct the file."
        ) from None
    if path.name == "pyproject.toml":
        tool = table.get("tool")
        own = tool.get("trainaudit") if isinstance(tool, dict) else None
        return own if isinstance(own, dict) else None
    return table


def _settings(table: dict[str, Any], path: Path, folder: Path) -> Settings:
    root = path.absolute().parent

    def near(text: str) -> str:
        return _near(text, root, folder)

    def path_of(key: str, value: object) -> Path:
        return Path(near(text_in(key, value)))

    def paths(key: str, value: object) -> tuple[Path, ...]:
        return tuple(Path(near(text)) for text in texts_in(key, value))

    readers: dict[str, tuple[str, Callable[[str, Any], object]]] = {
        "select": ("select", texts_in),
        "extend-select": ("extend_select", texts_in),
        "ignore-rules": ("ignore_rules", texts_in),
        "ignore": ("ignores", ignores_in),
        "fail-on": ("fail_on", lambda key, value: choice_in(value, FAIL_ON, key)),
        "targets": ("targets", lambda key, value: tuple(near(text) for text in texts_in(key, value))),
        "exclude": ("exclude", texts_in),
        "loss": ("loss", lambda key, value: choice_in(value, LOSSES, key)),
        "rules": ("rules", paths),
        "thresholds": ("thresholds", thresholds_in),
        "output-format": ("output_format", lambda key, value: choice_in(value, OUTPUT_FORMATS, key)),
        "report": ("reports", paths),
        "baseline": ("baseline", path_of),
    }
    fields: dict[str, Any] = {}
    try:
        for key, value in table.items():
            if key not in readers:
                raise _unknown(key, readers, path)
            if key == "targets" and isinstance(value, dict):
                fields["named"] = targets_in(value, LOSSES, near, str(root))
                continue
            name, read = readers[key]
            fields[name] = read(key, value)
    except TrainauditError as error:
        raise TrainauditError("bad-settings", f"{_shown(path)}: {error.what}", error.hint) from None
    return Settings(**fields, root=root, source=path)


def _shown(path: Path) -> str:
    """A settings file as messages name it: as seen from the working folder, or by its name alone where that is far away."""
    try:
        shown = os.path.relpath(path)
    except (ValueError, OSError):  # on another drive, or the working folder is gone
        return path.name
    return path.name if Path(shown).parts[:4] == ("..",) * 4 else shown


def _unknown(key: str, known: Iterable[str], path: Path) -> TrainauditError:
    if key == "tool" and path.name != "pyproject.toml":
        return TrainauditError(
            "bad-settings",
            "The keys stand under [tool].",
            f"In {path.name} they stand at the top, without [tool.trainaudit].",
        )
    hint = did_you_mean(key, known) or f"Known keys: {', '.join(known)}."
    return TrainauditError("bad-settings", f'"{key}" is not a key of the settings.', hint)


def _near(text: str, root: Path, folder: Path) -> str:
    """A path of the settings file as seen from the working folder. The module of `pkg.mod:attr` is no path; `file.py:attr` and `hf:FOLDER` hold one."""
    if text.startswith("hf:"):
        return f"hf:{_near(text.removeprefix('hf:'), root, folder)}"
    python = split_python(text)
    if python is not None:
        module, attribute = python
        return f"{_near(module, root, folder)}:{attribute}" if module.lower().endswith(".py") else text
    if Path(text).is_absolute() or ":" in text:
        return text
    try:
        return os.path.relpath(root / text, folder)
    except ValueError:
        return str(root / text)
